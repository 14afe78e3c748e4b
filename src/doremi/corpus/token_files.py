"""Reading tokens where they lie: in one file, or in segments of many.

A domain that was prepared from text is one file. One that came as tokens is a list of segments of the user's files, in
the order of its documents, and what is held out lies between them. To the loader both are one row of numbers.
"""

from __future__ import annotations

import errno
import os
import resource
import weakref
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from doremi.errors import DamageError

T = TypeVar("T")
AGAIN = "remove the corpus folder and run doremi prepare again"
MOVED = "put it back where it was, or remove the corpus folder and run doremi prepare again"
_DISK = "check the disk, then run the same command to resume from the last checkpoint"
SEGMENT = np.dtype([("file", "<u4"), ("end", "<u4"), ("offset", "<u8"), ("tokens", "<u8")])
"""Tokens of file number `file` from byte `offset` on; with `end` 1, an end of text follows that is not in the file."""
_OPEN = 4096  # files that are open at a time


class TokenSource(Protocol):
    """The tokens of a domain, one after the other."""

    def read(self, start: int, out: NDArray[np.int64]) -> None:
        """Fill `out` with the tokens from place `start` on."""
        ...


class FlatFile:
    """Numbers of one file (token ids, losses), read piece by piece; nothing of it is kept.

    With `pread`, not through a memory map: a map gives a disk that fails, or a file that was cut off under our hands,
    the form of a SIGBUS, which ends the process without a word.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        self.path, self.dtype = path, np.dtype(dtype).newbyteorder("<")
        try:
            self._descriptor = opened_file(path)
        except OSError as error:
            raise DamageError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, start: int, out: NDArray[np.int64] | NDArray[np.float32]) -> None:
        """Fill `out` with the numbers from place `start` on; `DamageError` if the file does not give them."""
        self.read_at(start * self.dtype.itemsize, out)

    def read_at(self, offset: int, out: NDArray[np.int64] | NDArray[np.float32]) -> None:
        """The same from byte `offset` on."""
        size = self.dtype.itemsize
        try:
            data = os.pread(self._descriptor, len(out) * size, offset)
        except OSError as error:
            start = offset // size
            raise DamageError(f"{self.path}: cannot be read at token {start:,} ({error.strerror}); {_DISK}") from None
        if len(data) < len(out) * size:
            raise DamageError(f"{self.path}: ends before token {offset // size + len(out):,}; {AGAIN}")
        out[:] = np.frombuffer(data, self.dtype)


def opened_file(path: Path) -> int:
    """A descriptor; the limit on them is raised where the shell's is too low for a thousand domains."""
    return with_more_files(lambda: os.open(path, os.O_RDONLY))


def with_more_files(opening: Callable[[], T]) -> T:
    """What `opening` opens; once more with a higher limit on descriptors where it meets that limit."""
    try:
        return opening()
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return opening()


class Segments:
    """Tokens of many files as one row of numbers. `files` are paths and numpy types, `end` is the id that is put in."""

    def __init__(self, files: Sequence[tuple[Path, str]], segments: NDArray[np.void], end: int, name: str) -> None:
        self._files, self._end, self._name = files, end, name
        sizes = segments["tokens"].astype(np.int64) + segments["end"].astype(np.int64)
        # Arrays of machine numbers: as fast to look into as lists, at a quarter of their memory.
        self._starts = array("q", np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64).tobytes())
        self._file = array("q", segments["file"].astype(np.int64).tobytes())
        self._offset = array("q", segments["offset"].astype(np.int64).tobytes())
        self._tokens = array("q", segments["tokens"].astype(np.int64).tobytes())
        self._open: OrderedDict[int, FlatFile] = OrderedDict()

    def read(self, start: int, out: NDArray[np.int64]) -> None:
        """Fill `out` with the tokens from place `start` on; `DamageError` if the files do not give them."""
        if start + len(out) > self._starts[-1]:
            raise DamageError(f"{self._name}: ends before token {start + len(out):,}; {AGAIN}")
        number, filled = bisect_right(self._starts, start) - 1, 0
        while filled < len(out):
            inside, tokens = start + filled - self._starts[number], self._tokens[number]
            taken = min(tokens - inside, len(out) - filled)
            if taken > 0:
                file = self._opened(self._file[number])
                file.read_at(self._offset[number] + inside * file.dtype.itemsize, out[filled : filled + taken])
                filled += taken
            if filled < len(out) and inside + taken < self._starts[number + 1] - self._starts[number]:
                out[filled] = self._end
                filled += 1
            number += 1

    def _opened(self, number: int) -> FlatFile:
        """The file, open. Of more than may be open at a time, those that were opened first are closed."""
        file = self._open.get(number)
        if file is None:
            while len(self._open) >= _OPEN:
                self._open.popitem(last=False)  # closed when nobody reads it any more
            file = self._open[number] = FlatFile(*self._files[number])
        return file
