"""The rounds of an iterated search: the weights after each, how sure they are, and why the last one was the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doremi.diagnostics.health import running_away
from doremi.mixture.record import MixtureRecord, Round
from doremi.report.facts import Facts, Search, before_limits
from doremi.report.tables import Cell, Table, intervals, repeats, shown
from doremi.report.words import count, percent, plural


def rounds_tables(facts: Facts) -> list[Table]:
    """One for each search that has several rounds."""
    tables = [_table(facts, search, f"rounds-{n}" if n else "rounds") for n, search in enumerate(facts.searches)]
    return [table for table in tables if table is not None]


def _table(facts: Facts, search: Search, key: str) -> Table | None:
    """Domains down, rounds across, with each round's largest change; None where there was one round only.

    Below a weight: its interval over seeds, and its epochs in the final run, as far as there are any.
    """
    ended = (search.record.rounds if search.record is not None else None) or ()
    weights = {one.round: one.weights for one in ended} or {n: before_limits(r) for n, r in search.rounds.items()}
    if not weights:
        return None
    columns = [_column(facts, held, search.rounds.get(at)) for at, held in weights.items()]
    rows = [[Cell(facts.domains[i]), *(column[i] for column in columns)] for i in shown(facts)]
    foot = [[Cell("Largest change"), *(Cell(percent(one.largest_change), small=one.domain) for one in ended)]]
    titles = [("Domain", "text"), *((f"After round {at}", "number") for at in weights)]
    words = (_ending(ended), running_away([one.model_dump() for one in ended])) if ended else _so_far(weights)
    several = f"For {search.name}." if len(facts.searches) > 1 else ""
    caption = " ".join(filter(None, (several, *words, _below(facts, search))))
    return Table(key, caption, titles, rows, foot if ended else [])


def _column(facts: Facts, held: Mapping[str, float], record: MixtureRecord | None) -> list[Cell]:
    """One round's cells, `[K]`; `record` is its own mixture file."""
    weights = facts.in_order(held)
    sure = intervals(facts, record)
    small = ["; ".join(filter(None, parts)) for parts in zip(sure, repeats(facts, weights), strict=True)]
    return [Cell(percent(weight), small=below) for weight, below in zip(weights, small, strict=True)]


def _below(facts: Facts, search: Search) -> str:
    """What the numbers are, and what stands under them."""
    under = []
    if any(record.uncertainty is not None and record.uncertainty.interval for record in search.rounds.values()):
        under.append("each weight's interval over seeds")
    if facts.has_budget:
        under.append(f"epochs at {count(facts.budget())} tokens")
    words = "Weights as found, before limits"
    return f"{words}. Below each, {', and '.join(under)}." if under else f"{words}."


def _so_far(weights: Mapping[int, Mapping[str, float]]) -> tuple[str]:
    return (f"{plural(len(weights), 'round')} so far.",)


def _ending(held: Sequence[Round]) -> str:
    reason = held[-1].stopped
    words = f"{plural(len(held), 'round')}, each with the mixture before it as its reference mixture"
    return (
        f"{words}. It was the last because {reason}."
        if reason
        else f"{words}. No more were allowed, and the mixture was still changing."
    )
