"""Segments of any types, gaps and ends, put together by a few operations, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]


class Run(NamedTuple):
    """Segments of a file that lie close together, of which a window wants the places `first` up to `last`."""

    pieces: I64
    """Of each segment, and of the one after them, the place where it starts and where its tokens stop, the byte of the
    file where place 0 would be, and its file, `[N + 1, 4]`."""
    first: int
    last: int
    begin: int
    """Byte of the file where `numbers` begin."""
    size: int
    """Bytes of a number."""
    numbers: NDArray[Any]
    end: int
    """What stands at a place between two segments that is in no file."""


def gathered(runs: Sequence[Run]) -> I64:
    """What the runs hold, one after the other: their tokens, and their ends."""
    behind = np.zeros(1, np.int64)  # where the place of an end is looked for, before that is put in
    held = np.concatenate([*(run.numbers for run in runs), behind], dtype=np.int64, casting="unsafe")
    pieces = np.concatenate([run.pieces[:-1] for run in runs])
    after = np.concatenate([run.pieces[1:, 0] for run in runs])
    facts = np.array([(run.first, run.last, run.begin, run.size, len(run.numbers), run.end) for run in runs], np.int64)
    before = np.cumsum(facts[:, 4]) - facts[:, 4]  # numbers of the runs before
    of_run = np.repeat(np.arange(len(runs)), [len(run.pieces) - 1 for run in runs])
    first, last, begin, size, _, end = facts[of_run].T
    start, stop, base, _ = pieces.T
    low, upto = np.maximum(start, first), np.minimum(after, last)
    length = upto - low
    there = np.cumsum(length) - length
    source = before[of_run] + (base - begin) // size + low
    index = np.repeat(source - there, length)
    index += np.arange(len(index))
    found = np.take(held, index, mode="clip")
    ends = (first <= stop) & (stop < upto)
    found[(there + stop - low)[ends]] = end[ends]
    return found
