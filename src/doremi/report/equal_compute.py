"""DoReMi against plain mixtures that trained on for as long as its search took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.report.facts import Facts, inner, listing
from doremi.report.tables import Cell, Table, lowest, outcome
from doremi.report.words import NBSP, count, fixed, number, signed, signed_percent

_TARGETS = ("uniform", "natural")


def compute_table(facts: Facts) -> Table | None:
    """A row a candidate: steps, both means, and below them DoReMi's difference to it with its interval."""
    held = inner(facts.verdict, "equal_compute")
    candidates = listing(held, "candidates")
    if not candidates:
        return None
    best = {t: lowest([number(inner(c, "mean", t)) for c in candidates]) for t in _TARGETS}
    rows = [
        [Cell(str(c.get("name"))), Cell(count(c.get("steps")))]
        + [_mean(held, c, target, best[target]) for target in _TARGETS]
        for c in candidates
    ]
    columns = [("Mixture", "text"), ("Steps", "number"), ("Mean, uniform", "number"), ("Mean, natural", "number")]
    caption = "Bits per byte, lower is better; below each, what DoReMi has more or less (negative: DoReMi is better)."
    return Table("equal-compute", caption, columns, rows)


def _mean(held: Any, candidate: Mapping[str, Any], target: str, best: float) -> Cell:
    bits = number(inner(candidate, "mean", target))
    for one in listing(held, "comparisons"):
        if (one.get("opponent"), one.get("target")) == (candidate.get("name"), target):
            found, ends = str(one.get("outcome")), one.get("interval")
            interval = f" ({signed(ends[0], 4)} to {signed(ends[1], 4)})" if isinstance(ends, list) else ""
            small = f"{signed_percent(one.get('relative'))}{interval}{NBSP}{found}"
            return Cell(fixed(bits, 4), small=small, best=bits == best, outcome=outcome(found))
    return Cell(fixed(bits, 4), best=bits == best)
