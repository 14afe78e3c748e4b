"""One shard of a preparation: its documents as tokens and rows, without what is held out anywhere.

It knows nothing of other shards, so any number can be written at once, in any order, on any machine that has the files
and the corpus folder. Writing one twice at the same time does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from doremi.corpus.excerpt import Excerpt
from doremi.corpus.parts import Counts, DomainPlan, documents
from doremi.corpus.patterns import File
from doremi.corpus.shards.layout import DomainRecord, Layout, Record, Shard, read_domain, table_of
from doremi.corpus.shards.new_file import NewFile
from doremi.corpus.shards.rows import FIRST, TEXT, Row
from doremi.corpus.shards.work import REPORT_EVERY, Work
from doremi.corpus.sources import DomainFiles, DomainSource
from doremi.corpus.store import disk_errors
from doremi.corpus.tokenized.layout import Table
from doremi.corpus.tokenized.opening import Opening
from doremi.corpus.tokenized.reading import Reading, Wanted, reader_of, whole_side
from doremi.corpus.tokenized.writing import rows_of
from doremi.corpus.tokenizer import TextTokenizer
from doremi.corpus.validation import Rule


class _Tag(NamedTuple):
    """What travels with a text through the encoder."""

    digest: bytes
    size: int
    excluded: int
    flags: int


class Desk:
    """What writing shards takes, read once: the tokenizer, what is held out, the files of domains."""

    def __init__(self, layout: Layout, work: Work) -> None:
        self.layout, self.work = layout, work
        self._domains: dict[str, DomainRecord] = {}

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        return self.work.tokenizer or self.layout.tokenizer()

    @cached_property
    def held(self) -> set[bytes]:
        return self.layout.held()

    @cached_property
    def itemsize(self) -> int:
        return np.dtype(self.tokenizer.dtype).itemsize

    @cached_property
    def special(self) -> re.Pattern[str]:
        """The text of any special token."""
        return re.compile("|".join(map(re.escape, self.tokenizer.special_texts)))

    def domain(self, name: str) -> DomainRecord:
        if name not in self._domains:
            self._domains[name] = read_domain(self.layout.place(name))
        return self._domains[name]

    def wanted(self, name: str) -> Wanted | None:
        """How a domain of tokens is read; None for one of text."""
        work = self.work
        return Opening(work.request, work.folder, self.tokenizer, work.stop, work.progress).wanted(name)

    # -- one shard -----------------------------------------------------------------------------------------------

    def write(self, shard: Shard, before: int = 0, total: int | None = None) -> None:
        """Write it, unless it is done. Progress counts bytes of files, `before` this shard and in all.

        `DataError` for files that cannot be read, `RunError` where the disk refuses, `Interrupted` where somebody has
        asked to stop.
        """
        if self.layout.record(shard) is not None:
            return
        work, found = self.work, Counts()
        total = shard.bytes if total is None else total
        wanted = self.wanted(shard.domain)
        plan = self._plan(shard, wanted)
        rows = _text_rows(plan, self, found) if plan.tokens is None else _token_rows(plan, plan.tokens, self, found)
        begin = shard.part[0] if shard.part is not None and plan.tokens is None else 0
        size, tokens = self._put(shard, plan, rows, begin, (before, total))
        counts = (found.empty, found.special, dict(sorted(found.bad.items())), dict(sorted(found.left_out.items())))
        with disk_errors(self.layout.folder):
            self.layout.write_record(shard, Record(size, tokens, *counts))
        work.progress(shard.domain, before + shard.bytes, total)

    def _put(
        self, shard: Shard, plan: DomainPlan, rows: Iterator[tuple[Row, bytes]], begin: int, share: tuple[int, int]
    ) -> tuple[int, int]:
        """Bytes of the rows and of the tokens that were written. Progress begins at byte `begin` of the files."""
        to_tokens, to_rows, _ = self.layout.files_of(shard)
        reported = 0
        with disk_errors(to_rows):
            files = NewFile(to_tokens), NewFile(to_rows)
        with files[0] as tokens, files[1] as listed:
            for row, data in rows:
                listed.write(row.packed())
                if data:
                    tokens.write(data)
                if plan.read_bytes - begin - reported >= REPORT_EVERY:
                    reported = plan.read_bytes - begin
                    self.work.progress(shard.domain, share[0] + min(reported, shard.bytes), share[1])
            if tokens.size:
                tokens.publish()
            listed.publish()
            return listed.size, tokens.size

    def _plan(self, shard: Shard, wanted: Wanted | None) -> DomainPlan:
        """The shard's files as those of a domain."""
        record, request = self.domain(shard.domain), self.work.request
        files = list(record.files[shard.first : shard.last])
        source = DomainSource([]) if record.ours else request.domains[shard.domain]
        tokens = None if wanted is None else self._reading(shard, record, wanted, files)
        excerpt = None if tokens is not None else _excerpt(shard, files)
        own = DomainFiles(files, [])
        return DomainPlan(shard.domain, source, own, Rule(0.0), request, tokens=tokens, excerpt=excerpt)

    def _reading(self, shard: Shard, record: DomainRecord, wanted: Wanted, files: list[File]) -> Reading:
        """The shard's documents of tokens."""
        side = whole_side(wanted, files)
        place = self.layout.place(shard.domain)

        def table(number: int) -> Table:
            found = side.tables(number) if not record.tables else _sampled(place, shard.first + number)
            first, last = shard.part or (0, len(found))
            return Table(found.offset[first:last], found.tokens[first:last])

        known = self.work.known.get(shard.domain, {})
        part = replace(side, tables=table, first=shard.first)
        return Reading(reader_of(wanted), part, None, None, wanted.tokenizer.unknown_id, known=known)


def _sampled(place: Path, number: int) -> Table:
    path = table_of(place, number)
    offset, tokens = np.fromfile(path, np.int64).reshape(2, -1) if path.exists() else np.zeros((2, 0), np.int64)
    return Table(offset, tokens)


def _excerpt(shard: Shard, files: list[File]) -> Excerpt | None:
    if shard.part is None:
        return None
    form = files[0].format
    if form is not None and form.container == "parquet":
        return Excerpt(row_groups=tuple(range(*shard.part)))
    return Excerpt(span=shard.part)


# -- rows ------------------------------------------------------------------------------------------------------------


def _text_rows(plan: DomainPlan, desk: Desk, found: Counts) -> Iterator[tuple[Row, bytes]]:
    """Each with the bytes of its tokens."""
    texts = _tagged(plan, desk, found)
    with closing(desk.work.encoder(desk.tokenizer.spec).encode(texts)) as encoded:
        for tokens, unknown, (digest, size, excluded, flags) in encoded:
            if flags & TEXT:
                row = Row(digest, size, len(tokens) // desk.itemsize, unknown, excluded=excluded, flags=flags)
                yield row, tokens
            else:
                yield Row(digest, 0, 0, excluded=excluded, flags=flags), b""


def _tagged(plan: DomainPlan, desk: Desk, found: Counts) -> Iterator[tuple[str, _Tag]]:
    """All that goes to the encoder. A document of which nothing is left goes as an empty text, to keep its place."""
    for digest, parts, excluded in documents(plan, desk.held, found, desk.work.stop, desk.special):
        if not parts:
            yield "", _Tag(digest, 0, excluded, FIRST)
        for number, part in enumerate(parts):
            is_first = number == 0
            yield part, _Tag(digest, len(part.encode()), excluded if is_first else 0, TEXT | (FIRST if is_first else 0))


def _token_rows(plan: DomainPlan, reading: Reading, desk: Desk, found: Counts) -> Iterator[tuple[Row, bytes]]:
    return ((row, b"") for row in rows_of(plan, reading, desk.held, found, desk.work.stop))
