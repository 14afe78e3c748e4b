"""What a preparation has of a domain of tokens: its sides, how to read them, and what a person should know of them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from doremi.corpus.patterns import File
from doremi.corpus.size import Sample
from doremi.corpus.store import disk_errors
from doremi.corpus.tokenized import columns, flat
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.decoding import decoder_of
from doremi.corpus.tokenized.documents import Cut, Reader, Side, TokenDocument, nothing_ends, slot_of
from doremi.corpus.tokenized.find import companion
from doremi.corpus.tokenized.layout import UNREADABLE, FileError, Layout, Table, refused
from doremi.corpus.tokenized.megatron import megatron
from doremi.corpus.tokenized.numbers import check_numbers
from doremi.corpus.tokenizer import TextTokenizer
from doremi.files import key_of

LOOKED_AT = 20  # documents that are encoded again
_BEGINNING, _LAST = 4096, 16  # tokens of each that are, and those at the cut that may come out otherwise
KNOWN, _FEW = 1 << 16, 16  # documents whose pieces are kept, and the most pieces of such a one: some 50 MB
_TRIED_SECONDS = 0.2
_AT_FIRST = 1000  # documents of an index in which a stated end must occur


@dataclass(frozen=True)
class ComesBack:
    """Of `looked` documents: how many give other tokens when they are decoded and encoded, and are no UTF-8."""

    looked: int = 0
    others: int = 0
    broken: int = 0

    @property
    def is_strange(self) -> bool:
        """Whether another tokenizer has made them, as far as a few documents can tell."""
        return 0 < self.looked == self.others

    def notes(self) -> list[str]:
        """The same in sentences."""
        notes = []
        if self.others:
            notes.append(
                f"{self.others} of {self.looked} documents looked at give other tokens when they are decoded and "
                "encoded again. Did this tokenizer make them?"
            )
        if self.broken:
            notes.append(f"the text of {self.broken} of {self.looked} documents looked at is not UTF-8")
        return notes


@dataclass(frozen=True)
class Reading:
    """A domain of tokens. `held` is the side that validation text comes from."""

    reader: Reader
    train: Side
    validation: Side | None
    sample: Sample | None
    unknown_id: int | None = None
    notes: list[str] = field(default_factory=list)
    comes_back: ComesBack = ComesBack()
    known: dict[tuple[int, int, int, int], Cut] = field(default_factory=dict)
    """Documents that were cut, by side, file, place and size: what is looked at again is not decoded again."""

    def cut(self, side: Side, document: TokenDocument) -> Cut:
        """A document of a side in pieces."""
        key = (int(side is self.validation), document.file, document.offset, len(document.ids))
        if (found := self.known.get(key)) is None:
            found = self.reader.cut(document.ids)
            if len(self.known) < KNOWN and len(found.pieces) <= _FEW:
                self.known[key] = found
        return found

    @property
    def held(self) -> Side:
        return self.validation or self.train

    @property
    def read_bytes(self) -> list[int]:
        """Of each training file, what is read of it."""
        if self.sample is None:
            return [file.size for file in self.train.files]
        sizes = [layout.dtype.itemsize for layout in self.train.layouts]
        return [int(self.train.tables(number).tokens.sum()) * size for number, size in enumerate(sizes)]

    def seconds(self) -> float:
        """That one process takes to decode and hash all training documents, about: some are tried."""
        began, done, taken = time.perf_counter(), 0, 0.0
        for number, table in self.train.spread():
            for document in self.train.read(number, table):
                self.reader.cut(document.ids)
                done += document.ids.nbytes
            if (taken := time.perf_counter() - began) > _TRIED_SECONDS:
                break
        return taken * sum(self.read_bytes) / max(1, done)

    def digests(self) -> Iterator[bytes]:
        """Of all pieces that may be held out, in the order of the files."""
        return (
            piece.digest
            for document in self.held.documents()
            for piece in self.cut(self.held, document).pieces
            if piece.has_text
        )

    def texts(self, *, validation: bool) -> Iterator[str]:
        """Documents as text."""
        side = self.validation if validation and self.validation is not None else self.train
        return (self.reader.text(document.ids) for document in side.documents())


@dataclass(frozen=True)
class Wanted:
    """What is to be read of a domain, and with what. `folder` is the corpus folder's part for it, `scans` for indices.

    `sample_tokens` is None for all."""

    domain: str
    asked: TokenIds
    tokenizer: TextTokenizer
    length: int
    folder: Path
    scans: Path
    sample_tokens: int | None
    stopped: Callable[[], None]
    progress: Callable[[str, int, int], None]

    @property
    def end(self) -> int:
        return self.tokenizer.end_of_text_id if self.asked.end is None else self.asked.end


def reading_of(wanted: Wanted, train: list[File], validation: list[File]) -> Reading:
    """Open the files of a domain. `DataError` that names the first one whose tokens cannot be this tokenizer's."""
    reader = reader_of(wanted)
    trained, sample = _side(wanted, train, wanted.sample_tokens)
    held = _side(wanted, validation, None)[0] if validation else None
    notes = [note for side in (trained, held) if side for layout in side.layouts for note in layout.notes]
    if not reader.decoder.exact:
        notes.append("its tokens do not give the exact text, so what is held out goes by their ids")
    back = _come_back(reader, trained, wanted.tokenizer)
    return Reading(reader, trained, held, sample, wanted.tokenizer.unknown_id, [*notes, *back.notes()], back)


def reader_of(wanted: Wanted) -> Reader:
    """How tokens become documents and pieces."""
    special = re.compile("|".join(map(re.escape, wanted.tokenizer.special_texts)))
    return Reader(decoder_of(wanted.tokenizer), wanted.end, wanted.length, special)


def _side(wanted: Wanted, files: list[File], sample_tokens: int | None) -> tuple[Side, Sample | None]:
    side = whole_side(wanted, files)
    own, layouts = side.files, side.layouts
    if sample_tokens is None or sample_tokens >= sum(layout.tokens for layout in layouts):
        _check_ends(wanted, side)
        return side, None
    chosen, sample = _drawn(wanted, side, sample_tokens)
    drawn = Side(wanted.domain, own, layouts, lambda number: chosen.get(number, _NONE), wanted.tokenizer.vocab_size)
    _check_ends(wanted, drawn)
    return drawn, sample


_NONE = Table(np.zeros(0, np.int64), np.zeros(0, np.int64))


def whole_side(wanted: Wanted, files: list[File]) -> Side:
    """All documents of these files."""
    layouts = [layout_of(wanted, file) for file in files]
    own = [_as_it_lies(file, layout) for file, layout in zip(files, layouts, strict=True)]
    tables: dict[int, Table] = {}

    def indexed(number: int) -> Table:
        if number not in tables:
            index = layouts[number].index
            tables[number] = _scanned(wanted, own[number], layouts[number]) if index is None else index()
        return tables[number]

    return Side(wanted.domain, own, layouts, indexed, wanted.tokenizer.vocab_size)


def layout_of(wanted: Wanted, file: File) -> Layout:
    """Where the tokens of a file lie."""
    path, asked, size = Path(file.path), wanted.asked, wanted.tokenizer.vocab_size
    to = columns.Unpacking(
        wanted.folder, key_of([file.path, file.size, file.version, asked.field])[:16], wanted.tokenizer.dtype, size
    )
    try:
        beside = companion(file.path)
        if path.suffix == ".bin":
            found = flat.raw(path, asked.type, size) if beside is None else megatron(path, beside, asked.type)
        elif path.suffix == ".npy":
            found = flat.npy(path, asked.type, size)
        elif path.suffix == ".ds":
            found = flat.datatrove(path, beside, asked.type, size)
        else:
            read = columns.arrow if path.suffix == ".arrow" else columns.parquet
            found = read(path, asked.field, asked.type, to)
        check_numbers(found, size)
    except UNREADABLE as error:
        raise refused(wanted.domain, file.path, error) from None
    return found


def _as_it_lies(file: File, layout: Layout) -> File:
    """The file that holds the tokens: the user's, or what was unpacked of it."""
    if str(layout.path) == file.path:
        return file
    return File(str(layout.path), file.name, layout.path.stat().st_size, file.version, file.identity, file.explicit)


def _scanned(wanted: Wanted, file: File, layout: Layout) -> Table:
    """Documents of a file without an index: looked for once, and kept until the preparation is done."""
    key = key_of([file.path, file.size, file.version, layout.dtype.str, layout.start, wanted.end])
    place = wanted.scans / f"{key[:16]}.ends"
    if not place.exists():
        what = f"{wanted.domain}, ends of documents"
        wanted.progress(what, 0, file.size)
        try:
            ends = flat.scan(layout, wanted.end, wanted.stopped)
        except (FileError, OSError) as error:
            raise refused(wanted.domain, file.path, error) from None
        with disk_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_name(f".{place.name}.tmp")
            ends.astype("<u8").tofile(temporary)
            temporary.replace(place)
        wanted.progress(what, file.size, file.size)
    return flat.table_of(np.fromfile(place, "<u8").astype(np.int64), layout)


def _drawn(wanted: Wanted, side: Side, tokens: int) -> tuple[dict[int, Table], Sample]:
    """About so many tokens of slots all over the files."""
    parts: dict[int, list[Table]] = {}
    units = held = size = 0
    try:
        for number, table in side.spread(slot_of(side, wanted.end)):
            wanted.stopped()
            parts.setdefault(number, []).append(table)
            units, held = units + 1, held + int(table.tokens.sum())
            size += int(table.tokens.sum()) * side.layouts[number].dtype.itemsize
            wanted.progress(f"{wanted.domain}, sample", min(held, tokens), tokens)
            if held >= tokens:
                break
    except (FileError, OSError) as error:
        raise refused(wanted.domain, side.files[0].path, error) from None
    whole = sum(layout.tokens * layout.dtype.itemsize for layout in side.layouts)
    return {number: _joined(of_file) for number, of_file in parts.items()}, Sample(
        units, len(parts), len(side.files), size, whole, packed=False
    )


def _joined(tables: list[Table]) -> Table:
    offset = np.concatenate([table.offset for table in tables])
    order = np.argsort(offset, kind="stable")
    return Table(offset[order], np.concatenate([table.tokens for table in tables])[order])


# -- checks ----------------------------------------------------------------------------------------------------------


def _check_ends(wanted: Wanted, side: Side) -> None:
    """Where only the id that ends documents tells them apart, it must be there, and so must one that was stated."""
    without = [number for number, layout in enumerate(side.layouts) if layout.index is None]
    stated = wanted.asked.end is not None
    if not without and not stated:
        return
    if not any(_ends_somewhere(side, number, wanted.end) for number in without or range(len(side.layouts))):
        raise nothing_ends(wanted.domain, wanted.end, said=stated)


def _ends_somewhere(side: Side, number: int, end: int) -> bool:
    """Whether one of the first documents of a file ends with the id; without an index the very first does, if any."""
    table, layout = side.tables(number), side.layouts[number]
    descriptor = os.open(layout.path, os.O_RDONLY)
    try:
        lasts = table.offset + (table.tokens - 1) * layout.dtype.itemsize
        places = lasts[table.tokens > 0][:_AT_FIRST].tolist()
        return any(int(layout.read(descriptor, place, 1)[0]) == end for place in places)
    except (FileError, OSError) as error:
        raise refused(side.domain, side.files[number].path, error) from None
    finally:
        os.close(descriptor)


def _come_back(reader: Reader, trained: Side, tokenizer: TextTokenizer) -> ComesBack:
    """What a few documents say of whether this tokenizer made them."""
    looked = others = broken = 0
    decoder = reader.decoder
    for number, table in islice(trained.spread(slots=None), LOOKED_AT):
        some = Table(table.offset[:LOOKED_AT], table.tokens[:LOOKED_AT])
        for document in islice(trained.read(number, some), LOOKED_AT - looked):
            ids = reader.content(document.ids)[:_BEGINNING]
            is_cut = len(ids) == _BEGINNING
            if not (data := decoder.data(ids)):
                continue
            looked += 1
            text, whole = _text(data, cut=is_cut)
            broken += not whole
            own = ids[decoder.sizes[ids] > 0] if decoder.exact else ids  # special tokens are none of the text
            others += _is_another(own, tokenizer.encode(text), cut=is_cut)
    return ComesBack(looked, others, broken)


def _text(data: bytes, *, cut: bool) -> tuple[str, bool]:
    try:
        return data.decode(), True
    except UnicodeDecodeError as wrong:
        return data.decode(errors="replace"), cut and wrong.start >= len(data) - 3


def _is_another(ids: np.ndarray, again: list[int], *, cut: bool) -> bool:
    own = ids.tolist()
    return own[:-_LAST] != again[: len(own) - _LAST] if cut else own != again
