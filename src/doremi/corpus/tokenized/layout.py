"""Where the tokens of a file lie, and which are its documents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from doremi.errors import DataError, one_line, reason_of

I64 = NDArray[np.int64]
TYPES = ("uint8", "uint16", "uint32", "int32", "int64", "uint64")
"""Integer types that tokens come in, here and there."""
LARGEST_READ = 1 << 30  # bytes that the system is asked for at a time: it gives no more than 2 GiB


class FileError(Exception):
    """What is wrong with a file of tokens; whoever knows the domain says it."""


@dataclass(frozen=True)
class Table:
    """Documents of one file, `[D]` each: the byte where a document begins, and its tokens, a last end included."""

    offset: I64
    tokens: I64

    def __len__(self) -> int:
        return len(self.offset)

    def between(self, first: int, last: int) -> Table:
        """Those that begin from byte `first` on and before `last`; the table is in the order of the file."""
        low, high = np.searchsorted(self.offset, [first, last])
        return Table(self.offset[low:high], self.tokens[low:high])


@dataclass(frozen=True)
class Layout:
    """One file of tokens. `start` is the byte of its first token, `tokens` the number of them."""

    path: Path
    form: str
    """In words."""
    dtype: np.dtype
    start: int
    tokens: int
    index: Callable[[], Table] | None = None
    """Its documents, where an index knows them; None where the ids that end them are to be looked for."""
    notes: tuple[str, ...] = field(default=())

    def read(self, descriptor: int, offset: int, tokens: int) -> NDArray[np.integer]:
        """Tokens from byte `offset` on. `FileError` where the file ends before."""
        size, parts = tokens * self.dtype.itemsize, []
        while size:
            data = os.pread(descriptor, min(size, LARGEST_READ), offset)
            if not data:
                raise FileError(f"ends at byte {offset:,}, and more was expected; was it changed meanwhile?")
            parts.append(data)
            size, offset = size - len(data), offset + len(data)
        return np.frombuffer(b"".join(parts) if len(parts) != 1 else parts[0], self.dtype)

    def blocks(self, descriptor: int, numbers: int) -> Iterator[tuple[int, NDArray[np.integer]]]:
        """All of it, so many tokens at a time, each block with the number of its first token."""
        for first in range(0, self.tokens, numbers):
            count = min(numbers, self.tokens - first)
            yield first, self.read(descriptor, self.start + first * self.dtype.itemsize, count)


UNREADABLE = (FileError, OSError, ValueError, KeyError, NotImplementedError, MemoryError)
"""What opening a damaged file may raise: the errors of pyarrow are one of these, each by its kind."""


def dtype_of(name: str) -> np.dtype:
    """`FileError` for a type that tokens do not come in."""
    if name not in TYPES:
        raise FileError(f"holds {name}; token ids are {', '.join(TYPES)}")
    return np.dtype(name).newbyteorder("<")


def check_said(said: str, found: np.dtype, who: str) -> None:
    """`FileError` where the user says another type than the file itself."""
    if said not in ("auto", found.name):
        raise FileError(f"{who} says {found.name}, and tokenized.type says {said}; leave that out, or correct it")


def refused(domain: str, path: Path | str, error: Exception) -> DataError:
    """One line for the user."""
    why = str(error) if isinstance(error, FileError) else f"cannot be read ({reason_of(error)}); check the file"
    return DataError(one_line(f"domain {domain!r}: {path}: {why}"))
