"""The rounds of iterated DoReMi: the weights after each, how sure they are, and why the last one was the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.diagnostics.health import running_away
from doremi.report.facts import Facts, found, inner, listing
from doremi.report.tables import Cell, Table, intervals, repeats, shown
from doremi.report.words import count, number, percent, plural


def rounds_table(facts: Facts) -> Table | None:
    """Domains down, rounds across, with each round's largest change; None where there was one round only.

    Below a weight: its interval over proxies, and its epochs in the final run, as far as there are any.
    """
    ended = listing(facts.doremi, "rounds")
    held = ended or [{"round": at, "weights": found(record)} for at, record in facts.rounds.items()]
    if not held:
        return None
    columns = [_column(facts, one, facts.rounds.get(at)) for at, one in enumerate(held, start=1)]
    rows = [[Cell(facts.domains[i]), *(column[i] for column in columns)] for i in shown(facts)]
    foot = [[Cell("Largest change"), *(_change(one) for one in held)]] if ended else []
    titles = [("Domain", "text"), *((f"After round {one.get('round')}", "number") for one in held)]
    words = (_ending(held), running_away(held)) if ended else (f"{plural(len(held), 'round')} so far.",)
    return Table("rounds", " ".join(filter(None, (*words, _below(facts)))), titles, rows, foot)


def _column(facts: Facts, held: Mapping[str, Any], record: Mapping[str, Any] | None) -> list[Cell]:
    """One round's cells, `[K]`; `record` is its own mixture file."""
    weights = [number(inner(held, "weights", domain)) for domain in facts.domains]
    sure = intervals(facts, record)
    small = ["; ".join(filter(None, parts)) for parts in zip(sure, repeats(facts, weights), strict=True)]
    return [Cell(percent(weight), small=below) for weight, below in zip(weights, small, strict=True)]


def _below(facts: Facts) -> str:
    """What the numbers are, and what stands under them."""
    under = []
    if any(inner(record, "uncertainty", "interval") for record in facts.rounds.values()):
        under.append("each weight's interval over proxies")
    if facts.has_budget:
        under.append(f"epochs at {count(facts.budget())} tokens")
    words = "Weights as found, before limits"
    return f"{words}. Below each, {', and '.join(under)}." if under else f"{words}."


def _change(held: Mapping[str, Any]) -> Cell:
    return Cell(percent(number(held.get("largest_change"))), small=str(held.get("domain")))


def _ending(held: list[Mapping[str, Any]]) -> str:
    reason = held[-1].get("stopped")
    words = f"{plural(len(held), 'round')}, each with the mixture before it as its reference mixture"
    return (
        f"{words}. It was the last because {reason}."
        if reason
        else f"{words}. No more were allowed, and the mixture was still changing."
    )
