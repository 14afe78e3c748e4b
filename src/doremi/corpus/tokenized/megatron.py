"""Megatron's pair: `.bin` with the tokens, `.idx` with the length and the place of every sequence."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from doremi.corpus.tokenized.layout import FileError, Layout, Table, check_said, dtype_of

_MAGIC = b"MMIDIDX\x00\x00"
_OLD_MAGIC = b"TNTIDX\x00\x00"
_HEAD = struct.Struct("<9sQBQQ")
_CODES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float64", 7: "float32", 8: "uint16"}


def megatron(path: Path, index: Path, said: str) -> Layout:
    """`FileError` where the pair is none, or does not belong together."""
    with index.open("rb") as file:
        head = file.read(_HEAD.size)
    if head[:8] == _OLD_MAGIC:
        raise FileError(f"{index.name} is of the old form (TNTIDX); make the pair anew with Megatron's mmap form")
    if len(head) < _HEAD.size or not head.startswith(_MAGIC):
        raise FileError(f"{index.name} is no index of Megatron; put the right one beside it, or rename it")
    _, version, code, sequences, documents = _HEAD.unpack(head)
    if version != 1 or code not in _CODES:
        raise FileError(f"{index.name} has version {version} and type {code}, which doremi does not know")
    expected, size = _HEAD.size + 12 * sequences + 8 * documents, index.stat().st_size
    if size not in (expected, expected + sequences):  # a byte more for each where there are pictures
        raise FileError(f"{index.name} has {size:,} bytes instead of {expected:,}; is it cut off? make it anew")
    dtype = dtype_of(_CODES[code])
    check_said(said, dtype, index.name)
    held = path.stat().st_size
    table = _table(index, sequences, documents, dtype.itemsize, held)
    covered, there = int(table.tokens.sum()), held // dtype.itemsize
    notes = () if covered == there else (f"{index.name} knows {covered:,} of the {there:,} tokens of its .bin",)
    form = f"Megatron {dtype.name}"
    return Layout(path, form, dtype, 0, covered, lambda: table,
                  notes)  # fmt: skip


def _table(index: Path, sequences: int, boundaries: int, itemsize: int, held: int) -> Table:
    """Documents in the order of the file; those of several sequences are put together."""
    place = _HEAD.size
    lengths = np.fromfile(index, "<i4", sequences, offset=place).astype(np.int64)
    starts = np.fromfile(index, "<i8", sequences, offset=place + 4 * sequences).astype(np.int64)
    bounds = np.fromfile(index, "<i8", boundaries, offset=place + 12 * sequences).astype(np.int64)
    if (lengths < 0).any() or (starts < 0).any():
        raise FileError(
            f"{index.name} has negative lengths or places, as older writers leave beyond 2 GiB; make it anew"
        )
    ends = starts + lengths * itemsize
    if len(ends) and ends.max() > held:
        raise FileError(
            f"{index.name} names tokens up to byte {int(ends.max()):,}, and the file has {held:,}: they do not belong "
            "together, or the file is cut off"
        )
    if boundaries < 1 or bounds[0] != 0 or bounds[-1] != sequences or (np.diff(bounds) < 0).any():
        raise FileError(f"{index.name} has document bounds that do not cover its {sequences:,} sequences; make it anew")
    inside = np.ones(sequences, bool)
    inside[bounds[:-1][bounds[:-1] < sequences]] = False
    follows = np.flatnonzero(inside)
    if (starts[follows] != ends[follows - 1]).any():
        raise FileError(f"{index.name} has documents whose sequences do not follow one another; make it anew")
    first = np.flatnonzero(~inside)
    tokens = np.add.reduceat(lengths, first) if len(first) else lengths
    order = np.argsort(starts[first], kind="stable")
    return Table(starts[first][order], tokens[order])
