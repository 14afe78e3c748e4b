"""How large a domain is, which is more than what was read of it where only a part is here or only a sample is read.

All that speaks of size asks `Corpus.sizes`: natural and temperature mixtures, UniMax, limits on epochs, and epochs.
What a training has before it asks the token files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from doremi.corpus.manifest import DomainEntry
from doremi.errors import DataError

How = Literal["counted", "given", "estimated"]
WHATS = ("tokens", "bytes", "documents")  # one of which a user may say of a domain


@dataclass(frozen=True)
class Given:
    """What a user says of a whole domain: one of three. Bytes are UTF-8 bytes of its text."""

    tokens: int | None = None
    bytes: int | None = None
    documents: int | None = None

    @property
    def said(self) -> tuple[str, int] | None:
        """What is said, and the number."""
        found = ((what, getattr(self, what)) for what in WHATS)
        return next(((what, number) for what, number in found if number is not None), None)


@dataclass(frozen=True)
class Sample:
    """What of a domain's training files was read. Bytes as the files lie on the disk."""

    units: int
    """Row groups, blocks of lines, small files, or beginnings of packed files."""
    files: int
    """That these units are of."""
    of_files: int
    bytes: int
    of_bytes: int
    packed: bool
    """Whether beginnings of packed files are among them."""

    def __str__(self) -> str:
        words = f"a sample of {self.bytes / max(1, self.of_bytes):.2%}: {self.files:,} of {self.of_files:,} files"
        return words + ", of packed ones the beginning" * self.packed


@dataclass(frozen=True)
class Size:
    """Tokens of a whole domain: with held-out text where it was split off, and of its training text alone."""

    tokens: int
    train: int
    how: How

    @property
    def exact(self) -> bool:
        """Whether it was counted, by us or by the user."""
        return self.how != "estimated"


def size_of(entry: DomainEntry, sample: Sample | None, given: Given | None) -> Size:
    """The size of a domain: as it is given, else scaled from what was read, else what was read."""
    said = given.said if given is not None else None
    if said is not None:
        what, number = said
        tokens = number if what == "tokens" else _scaled(entry.tokens, Fraction(number, max(1, read(entry, what))))
        return _size(entry, tokens, "given" if what == "tokens" else "estimated")
    if sample is not None:
        return _size(entry, _scaled(entry.tokens, Fraction(sample.of_bytes, max(1, sample.bytes))), "estimated")
    return Size(entry.tokens, entry.train.tokens, "counted")


def _size(entry: DomainEntry, tokens: int, how: How) -> Size:
    held = entry.tokens - entry.train.tokens  # split off; as many as there are, however large the domain is
    return Size(tokens, max(1, tokens - held), how)


def _scaled(tokens: int, factor: Fraction) -> int:
    return round(tokens * max(Fraction(1), factor))


def read(entry: DomainEntry, what: str) -> int:
    """Tokens, bytes or documents that were read of a domain, held-out ones where they were split off."""
    if what == "tokens":
        return entry.tokens
    split_off = entry.tokens > entry.train.tokens
    return getattr(entry.train, what) + split_off * getattr(entry.validation, what)


def check_sizes(entries: Mapping[str, DomainEntry], given: Mapping[str, Given]) -> None:
    """`DataError` that names the first domain whose given size is less than what was read of it."""
    for name, one in given.items():
        if name not in entries or one.said is None:
            continue
        what, number = one.said
        there = read(entries[name], what)
        if number < there and what != "documents":  # a document in parts is several
            raise DataError(
                f"data.domains.{name}.{what} is {number:,}, but {there:,} were read; "
                "give the size of the whole domain, or leave it out"
            )


def sample_of(value: Mapping[str, Any]) -> Sample:
    """From a manifest."""
    return Sample(**{key: value[key] for key in Sample.__dataclass_fields__})
