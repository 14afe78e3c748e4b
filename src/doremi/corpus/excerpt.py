"""A part of a file that is read alone: the lines that begin in a span of bytes, or some row groups of a table."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from doremi.corpus.remote import open_remote
from doremi.corpus.unpack import BLOCK, is_remote

_TAIL = 1 << 16  # bytes at a time beyond the span, where its last line ends


@dataclass(frozen=True)
class Excerpt:
    """One of two: a `span` of an unpacked file of lines, or `row_groups` of a Parquet file, whose `footer` is known."""

    span: tuple[int, int] | None = None
    row_groups: tuple[int, ...] = ()
    footer: Any = None

    @property
    def unit(self) -> str:
        """What records are counted in, for errors."""
        if self.span is None:
            return f"row of row group {', '.join(map(str, self.row_groups))}"
        return f"after byte {self.span[0]:,}, line" if self.span[0] else "line"

    def of(self, raw: BinaryIO) -> Any:
        """What of an open file is read from its beginning to its end."""
        return raw if self.span is None else _Span(raw, *self.span)


def opened_exactly(file: str) -> AbstractContextManager[BinaryIO]:
    """A file, or what is at an address, of which nothing is fetched but what is asked for."""
    return open_remote(file, exactly=True) if is_remote(file) else Path(file).open("rb")


class _Span:
    """The lines that begin in a span of bytes, as a file to read from beginning to end."""

    def __init__(self, raw: BinaryIO, start: int, end: int) -> None:
        self._raw, self._end = raw, end
        self._at = max(0, start - 1)  # a line begins at `start` if the byte before is the end of one
        raw.seek(self._at, os.SEEK_SET)
        self._held = b"" if start == 0 else self._after_line()
        self._done = self._at - len(self._held) >= end

    def _after_line(self) -> bytes:
        """What is read already of the first line that begins in the span."""
        while block := self._block():
            _, newline, rest = block.partition(b"\n")
            if newline:
                return rest
        return b""

    def _block(self) -> bytes:
        block = self._raw.read(min(BLOCK, max(_TAIL, self._end - self._at)))
        self._at += len(block)
        return block

    def read(self, size: int = -1) -> bytes:
        """The next block, as long as it comes; empty at the end."""
        if self._done:
            return b""
        block, self._held = self._held or self._block(), b""
        begin = self._at - len(block)
        last = block.find(b"\n", max(0, self._end - 1 - begin))
        if not block or last >= 0:
            self._done = True
            return block[: last + 1] if last >= 0 else block
        return block
