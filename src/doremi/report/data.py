"""What was read of each domain, and what of it was left out, as a table of the page."""

from __future__ import annotations

from doremi.corpus.source_record import what_was_read
from doremi.errors import DoremiError
from doremi.report.facts import Facts
from doremi.report.tables import Cell, Table
from doremi.report.words import count


def data_table(facts: Facts) -> Table | None:
    """One row a domain; None where the run has no corpus that says so."""
    try:
        read = what_was_read(facts.corpus) if facts.corpus is not None else {}
    except DoremiError:  # a damaged corpus is told by whoever needs it
        return None
    rows = [
        [
            Cell(name),
            Cell(count(domain.documents)),
            Cell(count(domain.tokens)),
            Cell(count(domain.held_tokens), small=f"in {count(domain.held_documents)} texts"),
            Cell(". ".join(domain.notes)),
        ]
        for name, domain in read.items()
    ]
    columns = [
        ("Domain", "text"),
        ("Documents", "number"),
        ("Tokens", "number"),
        ("Held out", "number"),
        ("Not used, or used twice", "text"),
    ]
    return Table("data", "Data: what was read of each domain.", columns, rows) if rows else None
