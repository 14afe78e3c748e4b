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
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from doremi.errors import DamageError

T = TypeVar("T")
AGAIN = "remove the corpus folder and run doremi prepare again"
_DISK = "check the disk, then run the same command to resume from the last checkpoint"
SEGMENT = np.dtype([("file", "<u4"), ("end", "<u4"), ("offset", "<u8"), ("tokens", "<u8")])
"""Tokens of file number `file` from byte `offset` on; with `end` 1, an end of text follows that is not in the file."""
_OPEN = 4096  # files of a domain that are open at a time
_HINTS = 8  # for each segment: most tell which one it is
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
        size = self.size
        try:
            data = os.pread(self.descriptor, count * size, offset)
        except OSError as error:
            start = offset // size
            raise DamageError(f"{self.path}: cannot be read at token {start:,} ({error.strerror}); {_DISK}") from None
        if len(data) < count * size:
            raise DamageError(f"{self.path}: ends before token {offset // size + count:,}; {AGAIN}")
        return np.frombuffer(data, self.dtype)


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

    A window costs about as much as in one file: mostly it lies in one segment, which is found at once, and of segments
    that lie close together a file is read once.
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
        joins = close & (segments["end"][:-1] == 0)
        # Machine numbers, those of one segment side by side: looked up at random, lists of Python's are slower.
        self._starts, self._shift, self._hints = _with_hints(starts)
        self._total = int(starts[-1])
        stops, base = starts[:-1] + tokens, offset - starts[:-1] * size
        self._rows = array("q", np.stack([stops, base, file.astype(np.int64), _last_false(joins)], 1).tobytes())
        self._close, self._offset = array("q", _last_false(close).tobytes()), array("q", offset.tobytes())
        self._open: list[FlatFile | None] = [None] * len(files)
        self._in_order: deque[int] = deque()  # of their opening

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
        row = 4 * number
        stop, base = self._rows[row], self._rows[row + 1]
        file = self._open[self._rows[row + 2]] or self._opened(self._rows[row + 2])
        size = file.size
        if last <= stop:  # as a rule: written out, since a call more is a twentieth of the time of a window
            try:
                data = os.pread(file.descriptor, length * size, base + start * size)
            except OSError:
                data = b""
            if len(data) < length * size:
                return file.read_at(base + start * size, out)  # says why
            out[:] = np.frombuffer(data, file.dtype)
        elif self._rows[row + 3] and last <= self._rows[row + 4]:
            begin = base + start * size
            numbers = file.numbers_at(begin, (self._rows[row + 5] + last * size - begin) // size)
            out[: stop - start] = numbers[: stop - start]
            out[stop - start :] = numbers[stop - last :]
        else:
            self._across(number, start, out)

    def _across(self, number: int, start: int, out: NDArray[np.int64]) -> None:
        """The same where several segments have a part of it."""
        place, last = start, start + len(out)
        while place < last:
            first, upto = number, number + 1
            while upto < len(self) and self._starts[upto] < last and self._close[upto - 1]:
                upto += 1
            self._together(first, upto, place, out[place - start :])
            place, number = self._starts[upto], upto

    def _together(self, first: int, upto: int, start: int, out: NDArray[np.int64]) -> None:
        """Fill `out`, as far as segments `first` up to `upto` of one file go, with one look at the file."""
        name = self._rows[4 * first + 2]
        file, last = self._open[name] or self._opened(name), start + len(out)
        size = file.size
        begin = self._offset[first] + (start - self._starts[first]) * size
        final = self._offset[upto - 1] + (min(last, self._rows[4 * upto - 4]) - self._starts[upto - 1]) * size
        block = file.numbers_at(begin, max(0, final - begin) // size)
        for number in range(first, upto):
            stop = self._rows[4 * number]
            low, high = max(start, self._starts[number]), min(last, stop)
            if low < high:
                at = (self._offset[number] - begin) // size + low - self._starts[number]
                out[low - start : high - start] = block[at : at + high - low]
            if start <= stop < min(last, self._starts[number + 1]):
                out[stop - start] = self._end

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


def _last_false(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.append(flags, False).astype(np.int64)
