"""What was read of each domain, and what of it was left out, as a table of the page."""

from __future__ import annotations

from doremi.corpus.source_record import DomainRead, what_was_read
from doremi.errors import DoremiError
from doremi.report.facts import Facts
from doremi.report.tables import Cell, Table
from doremi.report.words import count, fixed, percent, plural

_CAPTION = (
    "Data: what was read of each domain. Documents twice come again in their domain, or in one before it (elsewhere). "
    "With special tokens are documents that contain the text of one. Longest is in tokens."
)


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
            Cell(count(domain.bytes)),
            _tokens(domain),
            Cell(fixed(domain.bytes_per_token, 2)),
            Cell(count(domain.within), small=f"{count(domain.across)} elsewhere"),
            Cell(count(domain.special)),
            Cell(percent(domain.unknown)),
            Cell(count(domain.longest)),
            Cell(count(domain.held_tokens), small=_held(domain)),
            Cell(". ".join(domain.notes)),
        ]
        for name, domain in read.items()
    ]
    columns = [
        ("Domain", "text"),
        ("Documents", "number"),
        ("Bytes", "number"),
        ("Tokens", "number"),
        ("Bytes a token", "number"),
        ("Documents twice", "number"),
        ("With special tokens", "number"),
        ("Unknown", "number"),
        ("Longest", "number"),
        ("Held out", "number"),
        ("Not used, or used twice", "text"),
    ]
    return Table("data", _CAPTION, columns, rows) if rows else None


def _tokens(domain: DomainRead) -> Cell:
    """Of the whole domain, and of them those that were read, where these are fewer."""
    if domain.size.how == "counted":
        return Cell(count(domain.tokens))
    about = "" if domain.size.exact else "about "
    return Cell(f"{about}{count(domain.size.tokens)}", small=f"{count(domain.tokens)} read")


def _held(domain: DomainRead) -> str:
    """How many texts are held out, and what they are worth."""
    texts = f"in {plural(domain.held_documents, 'text')}"
    return texts if domain.held_effective is None else f"{texts}, worth {domain.held_effective:.0f} of one length"
