"""DoReMi against plain mixtures that trained on for as long as its search took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.report.facts import Facts, inner, listing
from doremi.report.tables import Cell, Table, compared, comparison, lowest
from doremi.report.words import count, number, signed_percent

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
    caption = "Bits per byte, lower is better. Below each stands DoReMi's difference (negative where DoReMi is better)."
    return Table("equal-compute", caption, columns, rows)


def _mean(held: Any, candidate: Mapping[str, Any], target: str, best: float) -> Cell:
    one = comparison(held, opponent=candidate.get("name"), target=target)
    difference = "" if one is None else signed_percent(one.get("relative"))
    return compared(number(inner(candidate, "mean", target)), best, one, difference, ends=True)
