"""What a shard says of its documents: one row for each text that may be trained on, in the order of the files.

A document is cut where text of it is held out, so it may have several texts, or none. The first row of each says so,
and a row without a text stands for a document without any.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIRST, TEXT, ENDED = 1, 2, 4
ROW = np.dtype(
    [
        ("digest", "<u8"),  # of the document: its first 64 bits
        ("bytes", "<u8"),  # of the text, as UTF-8
        ("tokens", "<u8"),  # with the end of text, but of tokens used in place only those that are in the file
        ("unknown", "<u8"),
        ("offset", "<u8"),  # of tokens used in place: the byte where they begin
        ("excluded", "<u4"),  # of a first row: pieces of the document that are held out
        ("file", "<u4"),  # of tokens used in place: the number of the file in the domain
        ("flags", "<u4"),  # FIRST of its document, TEXT that there is one, ENDED in the file
    ]
)
_PACKED = struct.Struct("<QQQQQIII")
_AT_ONCE = 1 << 18  # rows in memory


class Row(NamedTuple):
    """One row, as it is written."""

    digest: bytes
    bytes: int
    tokens: int
    unknown: int = 0
    offset: int = 0
    excluded: int = 0
    file: int = 0
    flags: int = TEXT

    def packed(self) -> bytes:
        return _PACKED.pack(int.from_bytes(self.digest[:8], "little"), *self[1:])


def read_rows(path: Path) -> Iterator[NDArray[Any]]:
    """All rows of a shard, many at a time, none but whole documents together."""
    held = np.zeros(0, ROW)
    with path.open("rb") as file:
        while len(block := np.fromfile(file, ROW, _AT_ONCE)):
            held = np.concatenate([held, block]) if len(held) else block
            last = int(np.flatnonzero(held["flags"] & FIRST)[-1])
            if last:
                yield held[:last]
                held = held[last:]
    if len(held):
        yield held
