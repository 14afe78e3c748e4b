"""The table of the data that a person reads before the first training: a line a domain, and notes below."""

from __future__ import annotations

from collections.abc import Mapping

from doremi.corpus.source_record import DomainRead

HEAD = (
    "domain", "documents", "bytes", "tokens", "read", "bytes/token", "twice", "elsewhere", "special", "unknown",
    "longest", "held out", "worth",
)  # fmt: skip
LEGEND = (
    "tokens are those of the whole domain (~ is an estimate), and read those that are here",
    "twice and elsewhere are documents that come again, in the domain or in one before it",
    "special are documents with the text of a special token, and longest is in tokens",
    "held out are validation texts, and they say as much as so many of one length (worth)",
)


def data_table(read: Mapping[str, DomainRead]) -> str:
    """The table of a prepared corpus, with a legend and what else is to be said of each domain."""
    rows = [HEAD, *(_row(name, domain) for name, domain in read.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    notes = [f"{name}: {'; '.join(domain.notes)}" for name, domain in read.items() if domain.notes]
    return "\n".join([*lines, *LEGEND, *notes])


def _row(name: str, domain: DomainRead) -> tuple[str, ...]:
    return (
        name, short(domain.documents), short(domain.bytes), _true(domain), short(domain.tokens),
        f"{domain.bytes_per_token:.2f}", short(domain.within), short(domain.across), _known(domain.special),
        f"{domain.unknown:.2%}", _known(domain.longest), short(domain.held_documents), _known(domain.held_effective),
    )  # fmt: skip


def _true(domain: DomainRead) -> str:
    return ("" if domain.size.exact else "~") + short(domain.size.tokens)


def _known(number: float | None) -> str:
    return "-" if number is None else short(number)


def short(number: float) -> str:
    """A count of up to four digits in full, else three of them with k, M, B or T."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size and number >= 1e4:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{letter}"
    return f"{number:,.0f}"
