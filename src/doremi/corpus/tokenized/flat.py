"""Files that are one array of tokens: raw, with a header (numpy's, llm.c's), or with datatrove's index beside them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from doremi.corpus.tokenized.layout import I64, FileError, Layout, Table, check_said, dtype_of

_LLM_C = {20240520: "uint16", 20240801: "uint32"}  # first number of llm.c's header, and the type of what follows
_LLM_C_HEADER = 1024  # bytes
BLOCK = 1 << 22  # tokens that are looked through at a time


def raw(path: Path, said: str, vocab_size: int) -> Layout:
    """No header: the type is said, or the smaller one that holds the vocabulary."""
    with path.open("rb") as file:
        head = np.frombuffer(file.read(12).ljust(12, b"\0"), "<i4")
    if head[0] in _LLM_C and head[1] == 1:
        return _llm_c(path, said, int(head[0]), int(head[2]))
    dtype = dtype_of(_by_vocabulary(said, vocab_size))
    return _array(path, f"flat {dtype.name}", dtype, 0)


def _by_vocabulary(said: str, vocab_size: int) -> str:
    return said if said != "auto" else "uint16" if vocab_size <= 1 << 16 else "uint32"


def _array(path: Path, form: str, dtype: np.dtype, start: int) -> Layout:
    size = path.stat().st_size - start
    if size % dtype.itemsize:
        raise FileError(
            f"has {size:,} bytes, which is no whole number of {dtype.name}; say its type in tokenized.type, or is it "
            "cut off?"
        )
    return Layout(path, form, dtype, start, size // dtype.itemsize)


def _llm_c(path: Path, said: str, magic: int, tokens: int) -> Layout:
    dtype = dtype_of(_LLM_C[magic])
    check_said(said, dtype, "its header")
    found = _array(path, f"llm.c {dtype.name}", dtype, _LLM_C_HEADER)
    if found.tokens != tokens:
        raise FileError(f"its header says {tokens:,} tokens, and it has {found.tokens:,}; is it cut off?")
    return found


def npy(path: Path, said: str, vocab_size: int) -> Layout:
    """OLMo's `.npy` mostly has no header, and numpy's own has one."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return raw(path, said, vocab_size)
        file.seek(0)
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except ValueError as error:
            raise FileError(f"has a header that numpy cannot read ({error}); save the array anew") from None
        start = file.tell()
    if dtype.byteorder == ">":
        raise FileError(f"has its bytes in big-endian order ({dtype.str}); save it with {dtype.newbyteorder('<').str}")
    known = dtype_of(dtype.name)
    check_said(said, known, "its header")
    if fortran and len(shape) > 1:
        raise FileError("is an array in Fortran's order, so its rows do not lie together; save it in C's order")
    found = _array(path, f"numpy {known.name}", known, start)
    if found.tokens != int(np.prod(shape)):
        raise FileError(f"its header says {int(np.prod(shape)):,} tokens, and it has {found.tokens:,}; is it cut off?")
    return found


def datatrove(path: Path, index: Path | None, said: str, vocab_size: int) -> Layout:
    """`.ds`, with `.ds.index` (where each document ends) and `.ds.metadata` (bytes a token) where they are there."""
    width = _bytes_a_token(path.with_name(path.name + ".metadata"))
    if width is not None:
        known = dtype_of({2: "uint16", 4: "uint32"}.get(width, f"numbers of {width} bytes"))
        check_said(said, known, f"{path.name}.metadata")
        said = known.name
    found = _array(path, "datatrove", dtype_of(_by_vocabulary(said, vocab_size)), 0)
    if index is None:
        return found
    ends = np.fromfile(index, "<u8").astype(np.int64)
    last = int(ends[-1]) if len(ends) else 0
    if (np.diff(ends, prepend=0) < 0).any() or last != found.tokens:
        raise FileError(
            f"{index.name} ends at token {last:,}, and the file has {found.tokens:,} as {found.dtype.name}: they do "
            "not belong together, or tokenized.type is another"
        )
    return Layout(path, f"datatrove {found.dtype.name}", found.dtype, 0, found.tokens, lambda: _of_ends(index, found))


def _of_ends(index: Path, layout: Layout) -> Table:
    return table_of(np.fromfile(index, "<u8").astype(np.int64), layout)


def table_of(ends: I64, layout: Layout) -> Table:
    """Documents from where they end, in tokens."""
    lengths = np.diff(ends, prepend=0)
    return Table(layout.start + (ends - lengths) * layout.dtype.itemsize, lengths)


def _bytes_a_token(metadata: Path) -> int | None:
    try:
        words = metadata.read_text(encoding="utf-8").split("\n", 1)[0].rsplit("|", 1)
        return int(words[1])
    except (OSError, ValueError, IndexError):
        return None


# -- files without an index ------------------------------------------------------------------------------------------


def scan(layout: Layout, end: int, stopped: object = None) -> I64:
    """Where documents end, in tokens, by the id that ends them; what follows the last one is a document too."""
    found = []
    descriptor = os.open(layout.path, os.O_RDONLY)
    try:
        for first, ids in layout.blocks(descriptor, BLOCK):
            if callable(stopped):
                stopped()
            found.append(np.flatnonzero(ids == end) + (first + 1))
    finally:
        os.close(descriptor)
    ends = np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)
    if layout.tokens and (not len(ends) or ends[-1] != layout.tokens):
        ends = np.append(ends, layout.tokens)
    return ends


def scan_between(layout: Layout, end: int, first: int, last: int) -> Table:
    """The documents that begin from byte `first` on and before `last`, whole; nothing else of the file is read."""
    size = layout.dtype.itemsize
    low = max(0, -(-(first - layout.start) // size))
    high = min(layout.tokens, max(0, -(-(last - layout.start) // size)))
    if high <= low:
        return Table(np.zeros(0, np.int64), np.zeros(0, np.int64))
    descriptor = os.open(layout.path, os.O_RDONLY)
    try:
        before = max(0, low - 1)  # whether one begins at the first token, the one before it says
        ids = layout.read(descriptor, layout.start + before * size, high - before)
        ends = np.flatnonzero(ids == end) + (before + 1)
        begins = np.concatenate([[0] if low == 0 else [], ends]).astype(np.int64)
        begins = begins[begins < high]
        if not len(begins):
            return Table(np.zeros(0, np.int64), np.zeros(0, np.int64))
        stop = int(ends[-1]) if len(ends) and ends[-1] == high else _next_end(layout, descriptor, end, high)
    finally:
        os.close(descriptor)
    lengths = np.diff(np.append(begins, stop))
    return Table(layout.start + begins * size, lengths)


def _next_end(layout: Layout, descriptor: int, end: int, token: int) -> int:
    """One past the next id that ends a document, from token `token` on."""
    while token < layout.tokens:
        count = min(BLOCK, layout.tokens - token)
        ids = layout.read(descriptor, layout.start + token * layout.dtype.itemsize, count)
        places = np.flatnonzero(ids == end)
        if len(places):
            return token + int(places[0]) + 1
        token += count
    return layout.tokens
