"""Candidates at every size that was trained: whether the ranking holds as models grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.report.facts import Facts, inner, listing
from doremi.report.tables import Cell, Table, compared, comparison, lowest
from doremi.report.words import count, number, signed_percent

_HOLDS = {
    True: "The ranking holds",
    False: "The ranking changes with size",
    None: "It is not known whether the ranking holds",
}


def sizes_table(facts: Facts) -> Table | None:
    """Candidates down, sizes across: mean bits per byte, and below it the change against the baseline."""
    sizes = listing(facts.verdict, "sizes")
    if not sizes:
        return None
    names = list(inner(sizes[-1], "bits_per_byte") or {})
    best = [lowest([number(inner(size, "bits_per_byte", name)) for name in names]) for size in sizes]
    rows = [[Cell(name), *(_cell(facts, s, name, b) for s, b in zip(sizes, best, strict=True))] for name in names]
    columns = [("Mixture", "text"), *((_title(size), "number") for size in sizes)]
    target = inner(facts.verdict, "recommendation", "target")
    return Table(
        "sizes", f"Bits per byte by the {target} mean, lower is better. The best of each size is boxed.", columns, rows
    )


def sizes_words(facts: Facts) -> str:
    """Whether the ranking holds, and why one can say so."""
    held = inner(facts.verdict, "ranking", "holds")
    return f"{_HOLDS[held if isinstance(held, bool) else None]}: {inner(facts.verdict, 'ranking', 'reason')}."


def _title(size: Mapping[str, Any]) -> str:
    return f"{size.get('size')} ({count(size.get('parameters'))} parameters)"


def _cell(facts: Facts, size: Mapping[str, Any], name: str, best: float) -> Cell:
    one = comparison(size, candidate=name, opponent=facts.baseline_name)
    difference = "" if one is None else signed_percent(one.get("relative"))
    return compared(number(inner(size, "bits_per_byte", name)), best, one, difference)
