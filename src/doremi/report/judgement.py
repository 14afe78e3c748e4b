"""The verdict as tables: candidates side by side, and each against its opponents with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from doremi.report.facts import Facts, inner, listing
from doremi.report.tables import Cell, Interval, Table, comparison, lowest, outcome
from doremi.report.words import (
    ABSENT,
    NBSP,
    TIMES,
    count,
    fixed,
    number,
    numbers,
    passes,
    percent,
    signed,
    signed_percent,
)

_MEANS = (("mean", "uniform", "bits_per_byte"), ("mean", "natural", "bits_per_byte"), ("worst", "bits_per_byte"))


def candidate_table(facts: Facts) -> Table | None:
    """One row a candidate: means, worst, regret, domains better than the reference, steps to baseline."""
    candidates = listing(facts.verdict, "candidates")
    if not candidates:
        return None
    best = [lowest([number(inner(c, *where)) for c in candidates]) for where in _MEANS]
    rows = [_candidate(facts, candidate, best) for candidate in candidates]
    titles = (
        "Rank: uniform, natural, worst", "Mean, uniform", "Mean, natural", "Worst domain",
        f"Largest regret against {facts.baseline_name}",
        "Domains better than reference", f"Steps to the final loss of {facts.baseline_name}",
        "Most epochs, in training",
    )  # fmt: skip
    caption = "Candidates in bits per byte, lower is better. The best of each column is boxed."
    return Table("candidates", caption, [("Mixture", "text"), *((t, "number") for t in titles)], rows)


def _candidate(facts: Facts, candidate: Mapping[str, Any], best: Sequence[float]) -> list[Cell]:
    """`best` are the lowest of the candidates' two means and worst domains."""
    name = str(candidate.get("name"))
    base = name == facts.baseline_name
    epochs = [x for x in numbers(candidate.get("epochs"), len(facts.domains)) if math.isfinite(x)]
    at = [number(inner(candidate, *where)) for where in _MEANS]
    return [
        Cell(name, small=_kind(facts, candidate)),
        Cell(", ".join(count(inner(candidate, "rank", what)) for what in ("uniform", "natural", "worst"))),
        _mean_cell(facts, candidate, "uniform", at[0] == best[0]),
        _mean_cell(facts, candidate, "natural", at[1] == best[1]),
        _worst(facts, candidate, best=at[2] == best[2]),
        Cell(ABSENT) if base else _regret(facts, candidate),
        _better(candidate, facts),
        Cell(ABSENT) if base else _steps(candidate.get("steps_to_baseline")),
        Cell(passes(max(epochs)) if epochs else ABSENT, small=_in_the_final_run(facts, candidate)),
    ]


def _in_the_final_run(facts: Facts, candidate: Mapping[str, Any]) -> str:
    """The most epochs at the budget, and of which domain; nothing where there is no budget."""
    held = numbers(candidate.get("epochs_at_budget"), len(facts.domains))
    known = [(x, domain) for x, domain in zip(held, facts.domains, strict=True) if math.isfinite(x)]
    most = max(known, default=None)
    return "" if most is None else f"{passes(most[0])} at {count(facts.budget())} tokens: {most[1]}"


def _kind(facts: Facts, candidate: Mapping[str, Any]) -> str:
    """What a candidate is beside its name; one that limits changed is no longer what it is called."""
    name = str(candidate.get("name"))
    if candidate.get("interval_of") == "method":
        return "the method, with a search for each seed"
    if inner(facts.mixtures.get(name), "before_limits") is not None:
        return "as limits allow it"
    return "the reference mixture" if name == facts.reference_name else ""


def _mean_cell(facts: Facts, candidate: Mapping[str, Any], target: str, best: bool) -> Cell:
    value = fixed(inner(candidate, "mean", target, "bits_per_byte"), 4)
    for entry in listing(facts.verdict, "comparisons"):
        key = (entry.get("candidate"), entry.get("opponent"), entry.get("target"))
        if key == (candidate.get("name"), facts.baseline_name, target):
            found = str(entry.get("outcome"))
            small = f"{signed_percent(entry.get('relative'))}{NBSP}{found}"
            return Cell(value, small=small, best=best, outcome=outcome(found))
    return Cell(value, best=best)


def _worst(facts: Facts, candidate: Mapping[str, Any], best: bool) -> Cell:
    """The worst domain's bits, and what they are against the baseline's worst."""
    found = inner(_worst_comparison(facts, candidate), "loss", "outcome")
    domain = inner(candidate, "worst", "domain")
    small = NBSP.join(str(word) for word in (domain, found) if word is not None)
    value = fixed(inner(candidate, "worst", "bits_per_byte"), 4)
    return Cell(value, small=small, best=best, outcome=outcome(found))


def _regret(facts: Facts, candidate: Mapping[str, Any]) -> Cell:
    """The domain that is furthest behind the baseline, with the interval of how far."""
    low, high = numbers(inner(_worst_comparison(facts, candidate), "regret", "interval"), 2)
    sure = f" ({signed(low, 4)} to {signed(high, 4)})" if math.isfinite(low) and math.isfinite(high) else ""
    value = inner(candidate, "worst_regret")
    return Cell(signed(inner(value, "bits_per_byte"), 4), small=f"{inner(value, 'domain') or ''}{sure}")


def _worst_comparison(facts: Facts, candidate: Mapping[str, Any]) -> Mapping[str, Any] | None:
    name, other = candidate.get("name"), facts.baseline_name
    return comparison(facts.verdict, "worst_comparisons", candidate=name, opponent=other)


def _better(candidate: Mapping[str, Any], facts: Facts) -> Cell:
    better = candidate.get("domains_better_than_reference")
    if candidate.get("name") == facts.reference_name or better is None:
        return Cell(ABSENT)
    return Cell(f"{count(better)} of {len(facts.domains):,}")


def _steps(value: Any) -> Cell:
    if not isinstance(value, Mapping):
        return Cell(ABSENT)
    if value.get("reached") is not True:
        return Cell("not reached", small=f"in {count(value.get('of'))}")
    speedup = number(value.get("speedup"))
    small = f"{speedup:.2f}{TIMES} as fast" if math.isfinite(speedup) else ""
    return Cell(f"{count(value.get('step'))} of {count(value.get('of'))}", small=small)


def comparison_tables(facts: Facts) -> list[Table]:
    """For each target: every candidate against its opponents, with intervals."""
    entries = listing(facts.verdict, "comparisons")
    targets = list(dict.fromkeys(str(e.get("target")) for e in entries))
    first = inner(facts.verdict, "recommendation", "target")
    targets.sort(key=lambda t: t != first)
    return [
        _comparisons(facts, n, target, [e for e in entries if str(e.get("target")) == target])
        for n, target in enumerate(targets)
    ]


def _comparisons(facts: Facts, n: int, target: str, entries: list[Mapping[str, Any]]) -> Table:
    scale = max((abs(x) for e in entries for x in _ends(e) if math.isfinite(x)), default=0.0) * 1.05 or 1.0
    rows = [_comparison(facts, entry, target, scale) for entry in entries]
    titles = [
        ("Comparison", "text"),
        ("Outcome", "text"),
        ("Difference, bits per byte", "number"),
        ("Relative", "number"),
        ("Worse to the right", "interval"),
        (f"{percent(inner(facts.verdict, 'confidence'), 0)} interval", "text"),
        ("p, corrected", "number"),
    ]
    caption = f"By the {target} average. Below zero, the first of the two is better."
    return Table(f"comparisons-{n}", caption, titles, rows)


def _comparison(facts: Facts, entry: Mapping[str, Any], target: str, scale: float) -> list[Cell]:
    low, _, high = _ends(entry)
    sure = math.isfinite(low) and math.isfinite(high)
    found = str(entry.get("outcome"))
    return [
        Cell(f"{entry.get('candidate')} against {entry.get('opponent')}"),
        Cell(found, outcome=outcome(found)),
        Cell(signed(entry.get("difference"), 4)),
        Cell(signed_percent(entry.get("relative"))),
        Cell("", interval=_interval(facts, entry, target, scale) if sure else None),
        Cell(f"{signed(low, 4)} to {signed(high, 4)}" if sure else "none with one seed"),
        Cell(_probability(entry.get("p_adjusted"))),
    ]


def _probability(value: Any) -> str:
    return "<0.001" if number(value) < 0.0005 else fixed(value, 3)


def _ends(entry: Mapping[str, Any]) -> tuple[float, float, float]:
    low, high = numbers(entry.get("interval"), 2)
    return low, number(entry.get("difference")), high


def _interval(facts: Facts, entry: Mapping[str, Any], target: str, scale: float) -> Interval:
    opponents = [c for c in listing(facts.verdict, "candidates") if c.get("name") == entry.get("opponent")]
    loss = number(inner(opponents[0], "mean", target, "bits_per_byte")) if opponents else math.nan
    margin = abs(loss * number(inner(facts.verdict, "margin")))
    places = [round(50 + 50 * x / scale, 1) if math.isfinite(x) else 50.0 for x in _ends(entry)]
    return Interval(*places, zero=50.0, margin=round(min(50.0, 50 * margin / scale), 1) if margin == margin else 0.0)
