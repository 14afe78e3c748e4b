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
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.gathering import Run, gathered
from doremi.errors import DamageError

T = TypeVar("T")
AGAIN = "remove the corpus folder and run doremi prepare again"
_DISK = "check the disk, then run the same command to resume from the last checkpoint"
SEGMENT = np.dtype([("file", "<u4"), ("end", "<u4"), ("offset", "<u8"), ("tokens", "<u8")])
"""Tokens of file number `file` from byte `offset` on; with `end` 1, an end of text follows that is not in the file."""
_OPEN = 4096  # files of a domain that are open at a time
_HINTS = 8  # for each segment: most tell which one it is
_COLUMNS = 4  # of the table of segments
_CLOSE = 1 << 14  # bytes between two segments that are read rather than passed over


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
        self.size = self.dtype.itemsize
        try:
            self.descriptor = opened_file(path)
        except OSError as error:
            raise DamageError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, start: int, out: NDArray[np.int64] | NDArray[np.float32]) -> None:
        """Fill `out` with the numbers from place `start` on; `DamageError` if the file does not give them."""
        size = self.size
        try:
            data = os.pread(self.descriptor, len(out) * size, start * size)
        except OSError:
            data = b""
        if len(data) < len(out) * size:
            return self.read_at(start * size, out)  # says why
        out[:] = np.frombuffer(data, self.dtype)

    def read_at(self, offset: int, out: NDArray[np.int64] | NDArray[np.float32]) -> None:
        """The same from byte `offset` on."""
        out[:] = self.numbers_at(offset, len(out))

    def numbers_at(self, offset: int, count: int) -> NDArray[Any]:
        """So many numbers from byte `offset` on, as they are in the file."""
        return np.frombuffer(self.bytes_at(offset, count * self.size), self.dtype)

    def bytes_at(self, offset: int, count: int) -> bytes:
        """So many bytes from byte `offset` on."""
        try:
            data = os.pread(self.descriptor, count, offset)
        except OSError as error:
            start = offset // self.size
            raise DamageError(f"{self.path}: cannot be read at token {start:,} ({error.strerror}); {_DISK}") from None
        if len(data) < count:
            raise DamageError(f"{self.path}: ends before token {(offset + count) // self.size:,}; {AGAIN}")
        return data


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
    """Tokens of many files as one row of numbers. `files` are paths and numpy types, `end` is the id that is put in.

    A window costs about as much as in one file. Where one segment has it, that is found at once. Where many have, those
    that lie close together are read at once. Batches are read by `Joined` (joined.py).
    """

    def __init__(self, files: Sequence[tuple[Path, str]], segments: NDArray[np.void], end: int, name: str) -> None:
        self._files, self._end, self._name = files, end, name
        tokens, offset, file = (
            segments["tokens"].astype(np.int64),
            segments["offset"].astype(np.int64),
            segments["file"],
        )
        starts = np.concatenate([[0], np.cumsum(tokens + segments["end"])]).astype(np.int64)
        size = np.array([np.dtype(dtype).itemsize for _, dtype in files], np.int64)[file]
        gap = offset[1:] - (offset + tokens * size)[:-1]
        close = (file[1:] == file[:-1]) & (gap >= 0) & (gap <= _CLOSE)
        stops, base = starts[:-1] + tokens, offset - starts[:-1] * size
        columns = [starts, *(np.append(each, 0) for each in (stops, base, file.astype(np.int64)))]
        # Machine numbers, those of one segment side by side: looked up at random, lists of Python's are slower.
        self._starts, self._shift, self._hints = _with_hints(starts)
        self._total = int(starts[-1])
        self._rows = array("q", np.stack(columns, 1).tobytes())
        self._table = np.frombuffer(self._rows, np.int64).reshape(-1, _COLUMNS)  # the same memory
        self._apart = array("q", np.cumsum(np.concatenate([[0, 0], ~close]))[: len(starts)].astype(np.int64).tobytes())
        self._open: list[FlatFile | None] = [None] * len(files)
        self._in_order: deque[int] = deque()  # of their opening

    @property
    def table(self) -> NDArray[np.int64]:
        """Of each segment the place where it starts and where its tokens stop, the byte of the file where place 0 would
        be, and its file; in a last row only where all of them end. `[N + 1, 4]`"""
        return self._table

    @property
    def groups(self) -> NDArray[np.int64]:
        """A number for each segment, the same for those that lie so close that a file is read once for all. `[N]`"""
        return np.frombuffer(self._apart, np.int64)[1:]

    @property
    def alike(self) -> tuple[str, bytes | None] | None:
        """The type of all its files, and the end of each of its segments (None without); None where they differ."""
        types, ended = {dtype for _, dtype in self._files}, self._table[1:, 0] > self._table[:-1, 1]
        if len(types) != 1 or ended.any() != ended.all():
            return None
        dtype = next(iter(types))
        return dtype, np.array(self._end).astype(dtype).tobytes() if ended.any() else None

    def file(self, number: int) -> FlatFile:
        """One of its files, open."""
        return self._open[number] or self._opened(number)

    def __len__(self) -> int:
        """Segments."""
        return len(self._starts) - 1

    def read(self, start: int, out: NDArray[np.int64]) -> None:
        """Fill `out` with the tokens from place `start` on; `DamageError` if the files do not give them."""
        length = len(out)
        last = start + length
        if last > self._total:
            raise DamageError(f"{self._name}: ends before token {last:,}; {AGAIN}")
        if not length:
            return
        number = self._hints[start >> self._shift] - 1
        if self._starts[number + 1] <= start:
            number = bisect_right(self._starts, start, number + 1, self._hints[(start >> self._shift) + 1]) - 1
        row = _COLUMNS * number
        if last > self._rows[row + 1]:
            upto = bisect_left(self._starts, last, number + 1)
            out[:] = gathered(self._runs(number, upto, start, last))
            return
        base, file = self._rows[row + 2], self._open[self._rows[row + 3]] or self._opened(self._rows[row + 3])
        size = file.size  # as a rule: written out, since a call more is a twentieth of the time of a window
        try:
            data = os.pread(file.descriptor, length * size, base + start * size)
        except OSError:
            data = b""
        if len(data) < length * size:
            return file.read_at(base + start * size, out)  # says why
        out[:] = np.frombuffer(data, file.dtype)

    def _runs(self, number: int, upto: int, start: int, last: int) -> Sequence[Run]:
        """Segments from `number` up to `upto`, of which places `start` up to `last` are wanted, in as few looks as can
        be: those that lie close together are read at once."""
        runs = []
        while number < upto:
            beyond = bisect_right(self._apart, self._apart[number + 1], number + 1, upto + 1) - 1
            runs.append(self._run(number, beyond, max(start, self._starts[number]), min(last, self._starts[beyond])))
            number = beyond
        return runs

    def _run(self, number: int, upto: int, start: int, last: int) -> Run:
        row, final = _COLUMNS * number, _COLUMNS * (upto - 1)
        file = self.file(self._rows[row + 3])
        size = file.size
        begin = self._rows[row + 2] + start * size
        stop = self._rows[final + 2] + min(last, self._rows[final + 1]) * size
        numbers = file.numbers_at(begin, max(0, stop - begin) // size)
        return Run(self._table[number : upto + 1], start, last, begin, size, numbers, self._end)

    def _opened(self, number: int) -> FlatFile:
        """The file, open. Of more than may be open at a time, those that were opened first are closed."""
        if len(self._in_order) >= _OPEN:
            self._open[self._in_order.popleft()] = None  # closed when nobody reads it any more
        file = self._open[number] = FlatFile(*self._files[number])
        self._in_order.append(number)
        return file


def _with_hints(starts: NDArray[np.int64]) -> tuple[array[int], int, array[int]]:
    """Where segments start and, for each stretch of 2^shift places, how many of them start up to its first place."""
    total = int(starts[-1])
    shift = (total // (_HINTS * max(1, len(starts) - 1))).bit_length()
    bounds = np.arange((total >> shift) + 2, dtype=np.int64) << shift
    hints = np.searchsorted(starts, bounds, side="right").astype(np.int64)
    return array("q", starts.tobytes()), shift, array("q", hints.tobytes())
