"""Candidates at every size that was trained: whether the ranking holds as models grow."""

from __future__ import annotations

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Difference, Table, compared, lowest
from doremi.report.words import count, number, signed_percent
from doremi.verdict.values import SizeSummary

_HOLDS = {
    True: "The ranking holds",
    False: "The ranking changes with size",
    None: "It is not known whether the ranking holds",
}


def sizes_table(facts: Facts) -> Table | None:
    """Candidates down, sizes across: mean bits per byte, and below it the change against the baseline."""
    verdict = facts.verdict
    if verdict is None or not verdict.sizes:
        return None
    sizes = verdict.sizes
    names = list(sizes[-1].bits_per_byte)
    best = [lowest([number(size.bits_per_byte.get(name)) for name in names]) for size in sizes]
    rows = [[Cell(name), *(_cell(facts, s, name, b) for s, b in zip(sizes, best, strict=True))] for name in names]
    columns = [("Mixture", "text"), *((f"{s.size} ({count(s.parameters)} parameters)", "number") for s in sizes)]
    caption = (
        f"Bits per byte by the {verdict.recommendation.target} mean, lower is better. The best of each size is boxed."
    )
    return Table("sizes", caption, columns, rows)


def sizes_words(facts: Facts) -> str:
    """Whether the ranking holds, and why one can say so."""
    ranking = facts.verdict.ranking if facts.verdict else None
    return f"{_HOLDS[ranking.holds]}: {ranking.reason}." if ranking else ""


def _cell(facts: Facts, size: SizeSummary, name: str, best: float) -> Cell:
    pairs = ((c.candidate, c.opponent) for c in size.comparisons)
    one = dict(zip(pairs, size.comparisons, strict=True)).get((name, facts.baseline_name))
    difference = one and Difference(signed_percent(one.relative), one.outcome)
    return compared(number(size.bits_per_byte.get(name)), best, difference)
