"""Found mixtures against plain ones that trained on for as long as the search took."""

from __future__ import annotations

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Difference, Table, compared, lowest
from doremi.report.words import count, signed_percent
from doremi.verdict.values import ComputeCandidate, EqualCompute, Target

_TARGETS: tuple[Target, ...] = ("uniform", "natural")


def compute_table(facts: Facts) -> Table | None:
    """A row a candidate: steps, both means, and below them the found mixture's difference to it with its interval."""
    held = facts.verdict.equal_compute if facts.verdict else None
    if held is None:
        return None
    best = {t: lowest([one.mean[t] for one in held.candidates]) for t in _TARGETS}
    rows = [
        [Cell(one.name, small=_kind(facts, one)), Cell(count(one.steps))]
        + [_mean(held, one, target, best[target]) for target in _TARGETS]
        for one in held.candidates
    ]
    columns = [("Mixture", "text"), ("Steps", "number"), ("Mean, uniform", "number"), ("Mean, natural", "number")]
    caption = (
        "Bits per byte, lower is better. Below a plain mixture stands the difference of the found one to it. It is "
        "negative where the found one is better."
    )
    return Table("equal-compute", caption, columns, rows)


def _kind(facts: Facts, one: ComputeCandidate) -> str:
    if not one.longer:
        return ""
    return f"trained longer, as the search of {one.search} cost" if len(facts.searches) > 1 else "trained longer"


def _mean(held: EqualCompute, candidate: ComputeCandidate, target: Target, best: float) -> Cell:
    pair = next((c for c, other in held.pairs() if other is candidate and c.target == target), None)
    difference = pair and Difference(signed_percent(pair.relative), pair.outcome, pair.interval)
    return compared(candidate.mean[target], best, difference)
