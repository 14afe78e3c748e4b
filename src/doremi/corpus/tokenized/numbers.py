"""Whether the numbers of a file can be the ids of a tokenizer, and what they are more likely to be."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.tokenized.layout import FileError, Layout

_BLOCKS, _NUMBERS = 16, 4096  # looked at before anything else is done
_HIGH_HALVES = 8  # that ids of up to half a million have, at most


def check_numbers(layout: Layout, vocab_size: int) -> None:
    """Look at some of the file; `FileError` where its type or byte order is another one, or its ids are others'."""
    if not layout.tokens:
        raise FileError("holds no tokens; remove it")
    parts = []
    descriptor = os.open(layout.path, os.O_RDONLY)
    try:
        for offset, tokens in _places(layout):
            parts.append(layout.read(descriptor, offset, tokens))
    finally:
        os.close(descriptor)
    held = [part[: len(part) & ~1] for part in parts if len(part) > 1]
    _check_halves(np.concatenate(held) if held else parts[0], layout)
    check_ids(np.concatenate(parts), layout, vocab_size)


def _places(layout: Layout) -> Iterator[tuple[int, int]]:
    """Bytes and numbers of tokens, spread over the file."""
    if layout.index is not None:
        table = layout.index()
        for number in range(0, len(table), max(1, len(table) // (8 * _BLOCKS))):
            yield int(table.offset[number]), min(_NUMBERS, int(table.tokens[number]))
        return
    step = max(2, (layout.tokens // _BLOCKS) & ~1)
    for first in range(0, layout.tokens, step):
        yield layout.start + first * layout.dtype.itemsize, min(_NUMBERS, layout.tokens - first, step)


def _check_halves(ids: NDArray[np.integer], layout: Layout) -> None:
    """Numbers twice as wide look like two, of which one is nearly always 0."""
    wider = {"uint8": "uint16", "uint16": "uint32", "uint32": "int64", "int32": "int64"}.get(layout.dtype.name)
    if wider is None or len(ids) < 32:
        return
    for high, low, order in ((ids[1::2], ids[0::2], ""), (ids[0::2], ids[1::2], " in big-endian order")):
        if high.max() < _HIGH_HALVES <= low.max() and high.min() >= 0:
            raise FileError(
                f"read as {layout.dtype.name}, every second number is below {_HIGH_HALVES}, so it more likely holds "
                f"{wider}{order}; say its type in tokenized.type"
            )


def check_ids(ids: NDArray[np.integer], layout: Layout, vocab_size: int) -> None:
    """`FileError` for ids that the tokenizer has not; it names the first."""
    if not len(ids) or (int(ids.min()) >= 0 and int(ids.max()) < vocab_size):
        return
    first = int(ids[np.flatnonzero((ids < 0) | (ids >= vocab_size))[0]])
    found = f"read as {layout.dtype.name}, it has the id {first:,}, and the tokenizer's vocabulary is {vocab_size:,}"
    if _fits(ids.byteswap(), vocab_size) and layout.dtype.itemsize > 1:
        raise FileError(f"{found}. Its bytes are more likely in big-endian order; write it anew in little-endian order")
    if layout.dtype.itemsize == 4 and _fits(np.frombuffer(ids.tobytes(), "<u2"), vocab_size):
        raise FileError(f"{found}. It more likely holds uint16; say so in tokenized.type")
    raise FileError(f"{found}. Name the tokenizer that made these tokens (data.tokenizer), or their type")


def _fits(ids: NDArray[np.integer], vocab_size: int) -> bool:
    return bool(len(ids)) and int(ids.min()) >= 0 and int(ids.max()) < vocab_size
