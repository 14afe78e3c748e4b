"""Opening files here or at any fsspec address, and unpacking them block by block."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from doremi.corpus.remote import open_remote

BLOCK = 1 << 20  # bytes read at a time
_ZST_BLOCK = 1 << 12  # compressed bytes at a time: what packs best, one letter without end, unpacks to 128 MiB a step
_ZST_WINDOW = 1 << 31  # archives made with `zstd --long=31` are common among corpora
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def is_remote(address: str) -> bool:
    return "://" in address


def opened(file: str) -> AbstractContextManager[BinaryIO]:
    """A file, or what is at an address, for reading bytes."""
    return open_remote(file) if is_remote(file) else Path(file).open("rb")


def unpacked(raw: BinaryIO, packing: str) -> Iterator[bytes]:
    """Blocks of a file's contents; `packing` is one of formats.PACKINGS or empty. Raises what is in `UNREADABLE`."""
    if packing == ".zst":
        return _unzstd(raw)
    plain: Any = raw
    if packing == ".gz":
        plain = gzip.GzipFile(fileobj=raw)
    elif packing == ".bz2":
        plain = bz2.BZ2File(raw)
    elif packing == ".xz":
        plain = lzma.LZMAFile(raw)  # noqa: SIM115
    return iter(lambda: plain.read(BLOCK), b"")


def _unzstd(raw: BinaryIO) -> Iterator[bytes]:
    """Unpack frame after frame; unlike the library's own stream reader this notices a file that ends too early."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZST_WINDOW)
    frame = unpacker.decompressobj()
    inside = False
    while data := raw.read(_ZST_BLOCK):
        while data:
            unpacked = frame.decompress(data)
            yield from (unpacked[i : i + BLOCK] for i in range(0, len(unpacked), BLOCK))
            inside, data = not frame.eof, frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = unpacker.decompressobj()
    if inside:
        raise EOFError("the file ends in the middle of its compressed data")
