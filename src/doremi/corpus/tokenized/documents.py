"""The documents of files of tokens, all or a sample of them, and the pieces that each is cut into.

A document is cut where its decoded text would be (validation.py), at the last token that does not reach beyond. So a
text has the same hash whether it comes as text or as tokens.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.patterns import File
from doremi.corpus.place import Meter
from doremi.corpus.sampling import SLOT, order
from doremi.corpus.tokenized.decoding import Decoder
from doremi.corpus.tokenized.flat import scan_between
from doremi.corpus.tokenized.layout import FileError, Layout, Table, refused
from doremi.corpus.tokenized.numbers import check_ids
from doremi.corpus.validation import CHARACTERS, cut, digest_of, digest_of_tokens
from doremi.errors import DataError

_READ = 1 << 20  # tokens that are read at a time, where no document has more
_BYTE = "doremi-byte"  # each byte that is no UTF-8 becomes a letter of one byte, so that places stay what they are


def _one_letter_each(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


codecs.register_error(_BYTE, _one_letter_each)


class TokenDocument(NamedTuple):
    """A document in file number `file`: the byte where it begins, and its ids, a last end included."""

    file: int
    offset: int
    ids: NDArray[np.integer]


class TokenPiece(NamedTuple):
    """Tokens `first` up to `last` of a document, and the bytes of their text."""

    digest: bytes
    first: int
    last: int
    size: int
    has_text: bool


class Cut(NamedTuple):
    """A document in pieces, which follow one another, and whether it has the text of a special token."""

    pieces: list[TokenPiece]
    special: bool


@dataclass(frozen=True)
class Reader:
    """How ids become documents and pieces. `end` is the id that ends a document, `length` characters of a piece.

    `special` finds the texts of special tokens."""

    decoder: Decoder
    end: int
    length: int
    special: re.Pattern[str]

    def content(self, ids: NDArray[np.integer]) -> NDArray[np.integer]:
        """A document without its end."""
        return ids[:-1] if len(ids) and ids[-1] == self.end else ids

    def text(self, ids: NDArray[np.integer]) -> str:
        """The text of a document; bytes that are no UTF-8 are question marks."""
        return self.decoder.data(self.content(ids)).decode(errors=_BYTE)

    def cut(self, ids: NDArray[np.integer]) -> Cut:
        """A document, its end left out."""
        content = self.content(ids)
        if not self.decoder.exact:
            return Cut(self._by_tokens(content), special=False)
        text = self.text(content)
        parts, upto = cut(text, self.length), self.decoder.upto(content)
        ends = np.cumsum([len(part.encode()) for part in parts])
        bounds = np.searchsorted(upto, ends, side="right") - 1
        bounds[-1] = len(content)
        found, first = [], 0
        for part, last in zip(parts, bounds.tolist(), strict=True):
            has_text = last > first and bool(part) and not part.isspace()
            found.append(TokenPiece(digest_of(part), first, last, int(upto[last] - upto[first]), has_text))
            first = last
        return Cut(found, self.special.search(text) is not None)

    def _by_tokens(self, content: NDArray[np.integer]) -> list[TokenPiece]:
        """Where the text is not exactly known, the ids decide, and are counted instead of letters."""
        length = max(1, self.length // CHARACTERS)
        bounds = [0, *range(length, len(content) - length + 1, length)] if len(content) > 2 * length else [0]
        found = []
        for first, last in zip(bounds, [*bounds[1:], len(content)], strict=True):
            ids = content[first:last]
            size = len(self.decoder.data(ids))
            found.append(TokenPiece(digest_of_tokens(ids.astype("<u4").tobytes()), first, last, size, size > 0))
        return found


@dataclass(frozen=True)
class Side:
    """The files of a domain that are trained on, or those that are held out. `tables` has the documents of each."""

    domain: str
    files: list[File]
    layouts: list[Layout]
    tables: Callable[[int], Table]
    vocab_size: int
    meter: Meter = field(default_factory=Meter)
    first: int = 0
    """The number of its first file, where these are some of a domain's files."""

    def documents(self) -> Iterator[TokenDocument]:
        """In the order of the files."""
        self.meter.begin()
        for number in range(len(self.files)):
            yield from self._of(number, self.tables(number))

    def spread(self, slots: Callable[[int, int], Table] | None = None) -> Iterator[tuple[int, Table]]:
        """The documents of a MiB here and there, with the number of their file: the order of every sample."""
        place = {file.path: number for number, file in enumerate(self.files)}
        for file, slot in order(self.files):
            number = place[file.path]
            first = slot * SLOT
            table = self.tables(number).between(first, first + SLOT) if slots is None else slots(number, slot)
            if len(table):
                yield number, table

    def read(self, number: int, table: Table) -> Iterator[TokenDocument]:
        """The documents of a table of file `number`."""
        return self._of(number, table)

    def _of(self, number: int, table: Table) -> Iterator[TokenDocument]:
        layout, size = self.layouts[number], self.layouts[number].dtype.itemsize
        position = [0]
        descriptor = os.open(layout.path, os.O_RDONLY)
        try:
            with self.meter.of(lambda: position[0]):
                for first, last in _runs(table, size):
                    begin, end = int(table.offset[first]), int(table.offset[last - 1] + table.tokens[last - 1] * size)
                    ids = layout.read(descriptor, begin, (end - begin) // size)
                    check_ids(ids, layout, self.vocab_size)
                    for offset, tokens in zip(
                        table.offset[first:last].tolist(), table.tokens[first:last].tolist(), strict=True
                    ):
                        start = (offset - begin) // size
                        yield TokenDocument(self.first + number, offset, ids[start : start + tokens])
                    position[0] += (end - begin) if last < len(table) else self.files[number].size - position[0]
        except (FileError, OSError) as error:
            raise refused(self.domain, self.files[number].path, error) from None
        finally:
            os.close(descriptor)


def _runs(table: Table, size: int) -> Iterator[tuple[int, int]]:
    """Documents that lie together, about so many tokens at a time."""
    ends = table.offset + table.tokens * size
    breaks = np.flatnonzero(table.offset[1:] != ends[:-1]) + 1
    for low, high in zip([0, *breaks.tolist()], [*breaks.tolist(), len(table)], strict=True):
        while low < high:
            upto = int(np.searchsorted(ends[low:high], table.offset[low] + _READ * size, side="right"))
            stop = low + max(1, upto)
            yield low, stop
            low = stop


def slot_of(side: Side, end: int) -> Callable[[int, int], Table]:
    """The documents that begin in a slot of a file, of files without an index by looking there only."""
    known: dict[int, Table] = {}

    def found(number: int, slot: int) -> Table:
        layout = side.layouts[number]
        if layout.index is None:
            return scan_between(layout, end, slot * SLOT, (slot + 1) * SLOT)
        if number not in known:
            known[number] = layout.index()
        return known[number].between(slot * SLOT, (slot + 1) * SLOT)

    return found


def nothing_ends(domain: str, end: int, *, said: bool) -> DataError:
    """For files in which the id that ends documents is never found."""
    whose = "tokenized.end" if said else "the tokenizer's end of text, as tokenized.end is not given"
    return DataError(
        f"domain {domain!r}: no document ends with the id {end:,} ({whose}); say in tokenized.end which id ends "
        "documents, or check tokenized.type and the tokenizer"
    )
