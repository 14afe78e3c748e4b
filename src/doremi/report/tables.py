"""The tables of the page, as plain values: what stands in each cell, already in words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from doremi.report.facts import Facts, Training, in_round, inner, listing, records
from doremi.report.words import (
    ABSENT,
    NBSP,
    count,
    duration,
    factor,
    fixed,
    flattened,
    listed,
    number,
    numbers,
    passes,
    percent,
    plural,
    signed,
    signed_percent,
)

SHOWN = 30  # domains a table or plot shows at most
SETTINGS = 300  # lines of settings that are shown at most
OUTCOMES = ("win", "loss", "tie", "undecided")


@dataclass(frozen=True)
class Interval:
    """A difference with its interval and the margin of a tie, as positions in a picture 0 to 100 wide."""

    low: float
    middle: float
    high: float
    zero: float
    margin: float


@dataclass(frozen=True)
class Cell:
    """`small` and `under` are further lines; `bar` a fraction of the width; `best` the best of its row or column."""

    text: str
    small: str = ""
    bar: float | None = None
    tone: str = ""
    best: bool = False
    outcome: str = ""
    interval: Interval | None = None
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
    """The domains to show: positions of the `SHOWN` largest by DoReMi's weight, else the reference's or natural."""
    known = (facts.weights("doremi"), facts.reference_weights(), facts.natural_weights())
    weights = np.array(next((w for w in known if w is not None), [0.0] * len(facts.domains)))
    return [int(i) for i in np.argsort(-np.nan_to_num(weights), kind="stable")[:SHOWN]]


def outcome(value: Any) -> str:
    """A known outcome, for its mark; whatever else a file says is shown without one."""
    return value if value in OUTCOMES else ""


# -- the mixture -----------------------------------------------------------------------------------------------------


def mixtures_shown(facts: Facts) -> list[tuple[str, str, list[float]]]:
    """(title, tone, weights `[K]`) of natural, reference, DoReMi and the recommended mixture, equal ones once."""
    recommended = inner(facts.verdict, "recommendation", "mixture")
    natural, reference = facts.natural_weights(), facts.reference_weights()
    name = facts.reference_name
    same = natural is not None and reference is not None and np.allclose(natural, reference, rtol=1e-9, atol=0)
    found = [
        ("Natural share, also the reference mixture" if same else "Natural share", "natural", natural),
        (f"Reference mixture ({facts.searched_from()})", "reference", None if same else reference),
        ("DoReMi", "doremi", facts.weights("doremi")),
    ]
    if recommended not in ("natural", name, "doremi", None):
        found.append((f"Recommended ({recommended})", "other", facts.weights(recommended)))
    return [(title, tone, weights) for title, tone, weights in found if weights is not None]


def epochs_of(facts: Facts, name: str, weights: list[float] | None) -> list[float]:
    """Epochs at the budget as the mixture's file states them, else from its weights. `[K]`"""
    held = inner(facts.mixtures.get(name), "domains")
    if isinstance(held, Mapping) and inner(facts.mixtures.get(name), "budget_tokens") == facts.budget():
        return [number(inner(held.get(d), "epochs")) for d in facts.domains]
    return facts.epochs(weights)


def mixture_table(facts: Facts) -> Table | None:
    """Domains by weight: shares, change, epochs. None while there is no mixture at all."""
    columns = mixtures_shown(facts)
    if not columns:
        return None
    order = shown(facts)
    change, epochs = _changes(facts), _epoch_columns(facts)
    sure = intervals(facts, facts.doremi)
    largest = max((w[i] for _, _, w in columns for i in order if w[i] == w[i]), default=1.0) or 1.0
    rows = [
        [Cell(facts.domains[i])]
        + [
            Cell(percent(w[i]), small=sure[i] if title == "DoReMi" else "", bar=_fraction(w[i] / largest), tone=tone)
            for title, tone, w in columns
        ]
        + [cells[i] for cells in change]
        + [Cell(passes(held[i])) for _, held in epochs]
        for i in order
    ]
    titles = ["Domain", *(title for title, _, _ in columns)] + ["Change, DoReMi / reference"] * len(change)
    titles += [f"Epochs of {name} at {count(facts.budget())} tokens" for name, _ in epochs]
    foot = _rest(facts, order, [w for _, _, w in columns], len(titles))
    kinds = [(title, "number" if n else "text") for n, title in enumerate(titles)]
    return Table("mixture", "Share of the training tokens by domain, largest first.", kinds, rows, foot)


def intervals(facts: Facts, mixture: Mapping[str, Any] | None) -> list[str]:
    """Each weight's interval over proxies in a found mixture's file, in words, `[K]`; nothing with one proxy."""
    held = inner(mixture, "uncertainty", "interval")
    pairs = [numbers(inner(held, d), 2) for d in facts.domains] if isinstance(held, Mapping) else []
    words = [f"{percent(low)} to {percent(high)}" if low == low else "" for low, high in pairs]
    return words or [""] * len(facts.domains)


def repeats(facts: Facts, weights: list[float]) -> list[str]:
    """Epochs in the final run, in words, `[K]`; nothing where the configuration has no budget or they are not known."""
    return [f"{passes(x)} epochs" if facts.has_budget and math.isfinite(x) else "" for x in facts.epochs(weights)]


def _changes(facts: Facts) -> list[list[Cell]]:
    """One column, `[K]`, or none where there is nothing to compare."""
    doremi, reference = facts.weights("doremi"), facts.reference_weights()
    if doremi is None or reference is None:
        return []
    return [[_change(before, after) for before, after in zip(reference, doremi, strict=True)]]


def _epoch_columns(facts: Facts) -> list[tuple[str, list[float]]]:
    """Epochs `[K]` of DoReMi and, where it is another, of the recommended mixture, as far as they are known."""
    recommended = inner(facts.verdict, "recommendation", "mixture")
    names = [("DoReMi", "doremi")] + ([(recommended, recommended)] if recommended not in ("doremi", None) else [])
    found = [(title, epochs_of(facts, name, facts.weights(name))) for title, name in names]
    return [(title, held) for title, held in found if any(math.isfinite(x) for x in held)]


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


def compared(value: Any, best: float, one: Mapping[str, Any] | None, difference: str, *, ends: bool = False) -> Cell:
    """A number with the comparison `one` below it, if there is one: difference, interval, what it amounts to."""
    plain = Cell(fixed(value, 4), best=value == best)
    if one is None:
        return plain
    found, interval = str(one.get("outcome")), one.get("interval")
    shown = f" ({signed(interval[0], 4)} to {signed(interval[1], 4)})" if ends and isinstance(interval, list) else ""
    return replace(plain, small=f"{difference}{shown}{NBSP}{found}", outcome=outcome(found))


def comparison(held: Any, part: str = "comparisons", **wanted: Any) -> Mapping[str, Any] | None:
    """The first of the comparisons in a `part` of the verdict whose fields are as `wanted`."""
    entries = listing(held, part)
    return next((one for one in entries if all(one.get(key) == value for key, value in wanted.items())), None)


# -- domains ---------------------------------------------------------------------------------------------------------


def measured(facts: Facts) -> dict[str, dict[str, list[float]]]:
    """Per candidate: `bits_per_byte`, `loss`, `perplexity` `[K]` on the report split, means over seeds."""
    k = len(facts.domains)
    units = ("bits_per_byte", "loss", "perplexity")
    judged = listing(facts.verdict, "candidates")
    if judged:
        return {str(c.get("name")): {u: numbers(c.get(u), k) for u in units} for c in judged}
    groups: dict[str, list[Training]] = {}
    size = facts.size()
    for t in [t for t in facts.finished("main") if t.size == size] or facts.finished("reference"):
        groups.setdefault(t.mixture or facts.searched_from(), []).append(t)
    return {name: {u: _over_seeds(group, u, k) for u in units} for name, group in groups.items()}


def _over_seeds(group: list[Training], unit: str, k: int) -> list[float]:
    rows = [numbers(inner(t.folder.evaluation(), "report", unit), k) for t in group]
    return [float(x) for x in np.mean(rows, axis=0)]


def domain_tables(facts: Facts) -> list[Table]:
    """Bits per byte with outcomes against the reference, then nats with perplexity: domains x candidates."""
    held = measured(facts)
    if not held:
        return []
    outcomes = {
        (e.get("candidate"), e.get("domain")): e
        for e in listing(facts.verdict, "domain_comparisons")
        if e.get("opponent") == facts.baseline_name
    }
    columns = [("Domain", "text"), *((name, "number") for name in held)]
    bits, nats = [], []
    for i in shown(facts):
        values = {name: row["bits_per_byte"][i] for name, row in held.items()}
        best = lowest(list(values.values()))
        against = values.get(facts.baseline_name, math.nan)
        head = Cell(facts.domains[i])
        bits.append([head] + [
            replace(_against(v, against, outcomes.get((name, facts.domains[i]))), best=v == best)
            for name, v in values.items()
        ])  # fmt: skip
        losses = lowest([row["loss"][i] for row in held.values()])
        nats.append([head] + [
            Cell(fixed(row["loss"][i], 4), small=fixed(row["perplexity"][i], 2), best=row["loss"][i] == losses)
            for row in held.values()
        ])  # fmt: skip
    return [
        Table("domains", "Bits per byte by domain, lower is better. The best of each row is boxed.", columns, bits),
        Table("nats", "The same in nats a token, with perplexity below.", columns, nats),
    ]


def _against(value: float, reference: float, entry: Mapping[str, Any] | None) -> Cell:
    if entry is None:
        return Cell(fixed(value, 4))
    found = str(entry.get("outcome"))
    if not reference > 0:
        return Cell(fixed(value, 4), small=found, outcome=outcome(found))
    relative = signed_percent(number(entry.get("difference")) / reference)
    low, high = (100 * end / reference for end in numbers(entry.get("interval"), 2))
    sure = f"{signed(low, 2)} to {signed(high, 2)}{NBSP}%" if math.isfinite(low) and math.isfinite(high) else ""
    return Cell(fixed(value, 4), small=f"{relative}{NBSP}{found}", outcome=outcome(found), under=sure)


# -- how it was made -------------------------------------------------------------------------------------------------


def training_table(facts: Facts) -> Table | None:
    """Every kind of model trained here: seeds, size, steps, tokens, final mean."""
    groups: dict[tuple[str, ...], list[Training]] = {}
    for t in facts.trainings:
        groups.setdefault((str(t.round), t.role, t.size, t.mixture), []).append(t)
    rows = [_training_row(facts, group) for group in groups.values()]
    titles = ("Model", "Seeds", "Parameters", "Steps", "Tokens", "Mean bits per byte")
    columns = [(t, "text" if n < 2 else "number") for n, t in enumerate(titles)]
    return (
        Table("models", "Models trained in this run. Means are over domains, then over seeds.", columns, rows)
        if rows
        else None
    )


def _training_row(facts: Facts, group: list[Training]) -> list[Cell]:
    one = group[0]
    done = [t for t in group if t.finished]
    stage = done[0].folder.stage() if done else {}
    name = {"reference": f"reference on {facts.searched_from(one.round)}", "proxy": "proxy"}.get(one.role)
    name = f"{one.mixture}, {one.size}" if name is None else in_round(name, one.round)
    seeds = listed(t.seed for t in done) or "none finished"
    means = [number(inner(t.folder.evaluation(), "report", "mean_bits_per_byte")) for t in done]
    return [
        Cell(name, small="the reference models" if any(t.shared for t in group) else ""),
        Cell(seeds, small="; ".join(_progress(t) for t in group if not t.finished)),
        *(Cell(count(stage.get(what))) for what in ("parameters", "steps", "tokens")),
        Cell(fixed(float(np.mean(means)), 4) if means else ABSENT),
    ]


def _progress(training: Training) -> str:
    held = records(training.folder, "train")
    return f"seed {training.seed} unfinished, at step {count(held[-1].get('step') if held else 0)}"


def time_table(facts: Facts) -> Table | None:
    """Wall-clock time and tokens, summed by stage."""
    totals: dict[str, list[float]] = {}
    for entry in facts.timings:
        stage = str(entry.get("stage")).partition("/seed-")[0]
        stage = re.sub(r"^rounds/(\d+)/", r"round \1, ", stage).replace("/", ", ")
        total = totals.setdefault(stage, [0.0, 0.0])
        for at, what in enumerate(("seconds", "tokens")):
            total[at] += np.nan_to_num(number(entry.get(what)))
    rows = [[Cell(name), Cell(duration(s)), Cell(count(t) if t else ABSENT)] for name, (s, t) in totals.items()]
    columns = [("Stage", "text"), ("Time", "number"), ("Tokens", "number")]
    return Table("times", "Wall-clock time by stage, all seeds together.", columns, rows) if rows else None


def settings_table(key: str, caption: str, values: Mapping[str, Any]) -> Table | None:
    """Nested settings, one a line, the first `SETTINGS` of them."""
    pairs = flattened(values) if values else []
    rows = [[Cell(name), Cell(value)] for name, value in pairs[:SETTINGS]]
    if len(pairs) > SETTINGS:
        rows.append([Cell(f"{len(pairs) - SETTINGS:,} more"), Cell("in the file itself")])
    return Table(key, caption, [("Setting", "text"), ("Value", "text")], rows) if rows else None
