"""The tables of the page, as plain values: what stands in each cell, already in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from doremi.mixture.record import MixtureRecord
from doremi.report.facts import Facts
from doremi.report.trainings import Training
from doremi.report.words import (
    ABSENT,
    NBSP,
    count,
    factor,
    fixed,
    inner,
    numbers,
    passes,
    percent,
    plural,
    signed,
    signed_percent,
)
from doremi.statistics.values import DomainDifference
from doremi.verdict.values import Interval, Outcome

SHOWN = 30  # domains a table or plot shows at most


@dataclass(frozen=True)
class Cell:
    """`small` and `under` are further lines; `bar` a fraction of the width; `best` the best of its row or column."""

    text: str
    small: str = ""
    bar: float | None = None
    tone: str = ""
    best: bool = False
    outcome: str = ""
    under: str = ""


@dataclass(frozen=True)
class Table:
    """`columns` are (title, kind) with kind `text` or `number`; the first cell of each row is its heading."""

    key: str
    caption: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Sequence[Cell]] = field(default_factory=list)


def shown(facts: Facts) -> list[int]:
    """The domains to show: positions of the `SHOWN` largest by found weight, else the reference's or natural."""
    known = (*map(facts.weights, facts.found), facts.reference_weights(), facts.natural_weights())
    weights = np.array(next((w for w in known if w is not None), [0.0] * len(facts.domains)))
    return [int(i) for i in np.argsort(-np.nan_to_num(weights), kind="stable")[:SHOWN]]


# -- the mixture -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A mixture in the table of mixtures: its weights `[K]`, and what stands below each of them."""

    title: str
    tone: str
    weights: list[float]
    below: list[str] = field(default_factory=list)


def mixtures_shown(facts: Facts) -> list[Column]:
    """Natural, the reference, what was found and the recommended mixture, equal ones once."""
    natural, reference = facts.natural_weights(), facts.reference_weights()
    same = natural is not None and reference is not None and np.allclose(natural, reference, rtol=1e-9, atol=0)
    columns = []
    if natural is not None:
        title = "Natural share, also the reference mixture" if same else "Natural share"
        columns.append(Column(title, "natural", natural))
    if reference is not None and not same:
        first = next(iter(facts.searches), None)
        columns.append(Column(f"Reference mixture ({facts.searched_from(first)})", "reference", reference))
    for name, record in facts.found.items():
        columns.append(Column(name, "found", facts.in_order(record.weights), intervals(facts, record)))
    other = another(facts)
    weights = facts.weights(other) if other not in (None, "natural", facts.reference_name) else None
    return columns + ([Column(f"Recommended ({other})", "other", weights)] if weights is not None else [])


def another(facts: Facts) -> str | None:
    """The recommended mixture where no search has found it."""
    chosen = facts.verdict.recommendation.mixture if facts.verdict else None
    return None if chosen in facts.found else chosen


def epochs_of(facts: Facts, name: str, weights: list[float] | None) -> list[float]:
    """Epochs at the budget as the mixture's file states them, else from its weights. `[K]`"""
    record = facts.mixtures.get(name)
    if record is not None and record.domains is not None and record.budget_tokens == facts.budget():
        held = {domain: counts.epochs for domain, counts in record.domains.items()}
        return facts.in_order(held)
    return facts.epochs(weights)


def mixture_table(facts: Facts) -> Table | None:
    """Domains by weight: shares, change, epochs. None while there is no mixture at all."""
    columns = mixtures_shown(facts)
    if not columns:
        return None
    order = shown(facts)
    changes, epochs = _changes(facts), _epoch_columns(facts)
    largest = max((c.weights[i] for c in columns for i in order if c.weights[i] == c.weights[i]), default=1.0) or 1.0
    rows = [
        [Cell(facts.domains[i])]
        + [
            Cell(
                percent(c.weights[i]),
                small=c.below[i] if c.below else "",
                bar=_fraction(c.weights[i] / largest),
                tone=c.tone,
            )
            for c in columns
        ]
        + [cells[i] for _, cells in changes]
        + [Cell(passes(held[i])) for _, held in epochs]
        for i in order
    ]
    titles = ["Domain", *(c.title for c in columns), *(f"Change, {name} / reference" for name, _ in changes)]
    titles += [f"Epochs of {name} at {count(facts.budget())} tokens" for name, _ in epochs]
    foot = _rest(facts, order, [c.weights for c in columns], len(titles))
    kinds = [(title, "number" if n else "text") for n, title in enumerate(titles)]
    return Table("mixture", "Share of the training tokens by domain, largest first.", kinds, rows, foot)


def intervals(facts: Facts, record: MixtureRecord | None) -> list[str]:
    """Each weight's interval over seeds in a found mixture's file, in words, `[K]`; nothing with one seed."""
    held = record.uncertainty.interval if record is not None and record.uncertainty is not None else None
    pairs = [numbers((held or {}).get(d), 2) for d in facts.domains]
    return [f"{percent(low)} to {percent(high)}" if low == low else "" for low, high in pairs]


def repeats(facts: Facts, weights: list[float]) -> list[str]:
    """Epochs in the final run, in words, `[K]`; nothing where the configuration has no budget or they are not known."""
    return [f"{passes(x)} epochs" if facts.has_budget and math.isfinite(x) else "" for x in facts.epochs(weights)]


def _changes(facts: Facts) -> list[tuple[str, list[Cell]]]:
    """A column for each found mixture, against what its search started from, where that is known. `[K]`"""
    made = []
    for search in facts.searches:
        reference = facts.reference_weights(search)
        if search.record is not None and reference is not None:
            pairs = zip(reference, facts.in_order(search.record.weights), strict=True)
            made.append((search.name, [_change(before, after) for before, after in pairs]))
    return made


def _epoch_columns(facts: Facts) -> list[tuple[str, list[float]]]:
    """Epochs `[K]` of what was found and, where it is another, of the recommended mixture, as far as they are known."""
    other = another(facts)
    names = [*facts.found, *([other] if other is not None else [])]
    held = [(name, epochs_of(facts, name, facts.weights(name))) for name in names]
    return [(name, epochs) for name, epochs in held if any(math.isfinite(x) for x in epochs)]


def _change(before: float, after: float) -> Cell:
    if not before > 0:
        return Cell("new" if after > 0 else ABSENT)
    return Cell(factor(after / before))


def _fraction(x: float) -> float:
    return round(min(1.0, max(0.0, x)), 4) if math.isfinite(x) else 0.0


def _rest(facts: Facts, order: list[int], weights: list[list[float]], width: int) -> list[list[Cell]]:
    left = sorted(set(range(len(facts.domains))) - set(order))
    if not left:
        return []
    sums = [Cell(percent(math.fsum(w[i] for i in left if w[i] == w[i]))) for w in weights]
    row = [Cell(f"{plural(len(left), 'more domain')}"), *sums]
    return [row + [Cell(ABSENT)] * (width - len(row))]


def lowest(values: Sequence[float]) -> float:
    """The lowest of at least two values; NaN, which equals nothing, where there is nothing to choose from."""
    known = [v for v in values if math.isfinite(v)]
    return min(known) if len(known) > 1 else math.nan


def compared(value: float, best: float, one: Difference | None = None) -> Cell:
    """A number with the comparison `one` below it, if there is one: difference, interval, what it amounts to."""
    cell = Cell(fixed(value, 4), best=value == best)
    if one is None:
        return cell
    ends = f" ({signed(one.interval[0], 4)} to {signed(one.interval[1], 4)})" if one.interval else ""
    return replace(cell, small=f"{one.words}{ends}{NBSP}{one.outcome}", outcome=one.outcome)


@dataclass(frozen=True)
class Difference:
    """What stands below a number: a difference in words, its interval where that is to be shown, the outcome."""

    words: str
    outcome: Outcome
    interval: Interval = None


# -- domains ---------------------------------------------------------------------------------------------------------


def measured(facts: Facts) -> dict[str, dict[str, list[float]]]:
    """Per candidate: `bits_per_byte`, `loss`, `perplexity` `[K]` on the report split, means over seeds."""
    k = len(facts.domains)
    units = ("bits_per_byte", "loss", "perplexity")
    if facts.verdict is not None:
        return {one.name: {u: numbers(getattr(one, u), k) for u in units} for one in facts.verdict.candidates}
    groups: dict[str, list[Training]] = {}
    for t in facts.models():
        if t.size == facts.size():
            groups.setdefault(t.name, []).append(t)
    groups = groups or {facts.searched_from(one): one.finished("reference") for one in facts.searches}
    return {name: {u: _over_seeds(group, u, k) for u in units} for name, group in groups.items() if group}


def _over_seeds(group: list[Training], unit: str, k: int) -> list[float]:
    rows = [numbers(inner(t.folder.evaluation(), "report", unit), k) for t in group]
    return [float(x) for x in np.mean(rows, axis=0)]


_DOMAINS = (
    "Bits per byte by domain, lower is better. The best of each row is boxed. Below stands the change against {}, and "
    "then by how much it differs from the mean change over domains, with its 95 % range."
)


def domain_tables(facts: Facts) -> list[Table]:
    """Bits per byte with outcomes against the baseline, then nats with perplexity: domains x candidates."""
    held = measured(facts)
    if not held:
        return []
    changes = {
        (one.candidate, row.domain): row
        for one in (facts.verdict.domain_changes if facts.verdict else ())
        for row in one.domains
    }
    columns = [("Domain", "text"), *((name, "number") for name in held)]
    bits, nats = [], []
    for i in shown(facts):
        values = {name: row["bits_per_byte"][i] for name, row in held.items()}
        best = lowest(list(values.values()))
        head = Cell(facts.domains[i])
        bits.append([head] + [
            replace(_changed(v, changes.get((name, facts.domains[i]))), best=v == best)
            for name, v in values.items()
        ])  # fmt: skip
        losses = lowest([row["loss"][i] for row in held.values()])
        nats.append([head] + [
            Cell(fixed(row["loss"][i], 4), small=fixed(row["perplexity"][i], 2), best=row["loss"][i] == losses)
            for row in held.values()
        ])  # fmt: skip
    return [
        Table("domains", _DOMAINS.format(facts.baseline_name), columns, bits),
        Table("nats", "The same in nats a token, with perplexity below.", columns, nats),
    ]


def _changed(value: float, one: DomainDifference | None) -> Cell:
    """Bits per byte. Below them the change against the baseline, and how it differs from the mean change."""
    if one is None:
        return Cell(fixed(value, 4))
    low, high = numbers(one.profile_interval, 2)
    sure = f" ({signed_percent(low)} to {signed_percent(high)})" if math.isfinite(low) and math.isfinite(high) else ""
    outcome = "win" if high < 0 else "loss" if low > 0 else ""
    return Cell(
        fixed(value, 4),
        small=signed_percent(one.level),
        under=f"{signed_percent(one.profile)}{sure}",
        outcome=outcome,
    )
