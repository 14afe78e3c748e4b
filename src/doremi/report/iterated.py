"""The rounds of iterated DoReMi: the weights after each, and why the last one was the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.health import running_away
from doremi.report.facts import Facts, inner, listing
from doremi.report.tables import Cell, Table, shown
from doremi.report.words import number, percent, plural


def rounds_table(facts: Facts) -> Table | None:
    """Domains down, rounds across, with each round's largest change; None where there was one round only."""
    held = listing(facts.doremi, "rounds")
    if not held:
        return None
    rows = [
        [Cell(facts.domains[i]), *(Cell(percent(number(inner(r, "weights", facts.domains[i])))) for r in held)]
        for i in shown(facts)
    ]
    foot = [[Cell("Largest change"), *(_change(r) for r in held)]]
    columns = [("Domain", "text"), *((f"After round {r.get('round')}", "number") for r in held)]
    caption = " ".join(filter(None, (_ending(held), running_away(held), "Weights as found, before limits.")))
    return Table("rounds", caption, columns, rows, foot)


def _change(held: Mapping[str, Any]) -> Cell:
    return Cell(percent(number(held.get("largest_change"))), small=str(held.get("domain")))


def _ending(held: list[Mapping[str, Any]]) -> str:
    reason = held[-1].get("stopped")
    words = f"{plural(len(held), 'round')}, each with the mixture before it as its reference mixture"
    return f"{words}; the last because {reason}." if reason else f"{words}; as many as were allowed, still changing."
