"""Megatron's `.idx`, which may name any documents of its `.bin`.

Header, version, type code, counts, then lengths (int32) and byte offsets (int64) of the documents, then the document
boundaries (int64).
"""

from __future__ import annotations

import struct

import numpy as np

from doremi.errors import ExportError

# Megatron has no uint32. Token ids are below the vocabulary's size, so below 2^31, where the bytes of a uint32 and an
# int32 are the same: the index may say int32, and a copy of the corpus would hold the same bytes again.
_TYPE_CODES = {2: 8, 4: 4}  # bytes a token: uint16, int32
LARGEST = 2**31 - 1


def index(lengths: np.ndarray, starts: np.ndarray, itemsize: int) -> bytes:
    """A whole `.idx` file for documents of `lengths` tokens at token `starts` (`[documents]`, int64 each)."""
    if len(lengths) and lengths.max() > LARGEST:
        raise ExportError(f"a document of {lengths.max()} tokens: Megatron's index ends at {LARGEST}; split it")
    documents = len(lengths)
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, _TYPE_CODES[itemsize], documents, documents + 1)
    boundaries = np.arange(documents + 1, dtype="<i8")  # every sequence is a document of its own
    return b"".join(
        [head, lengths.astype("<i4").tobytes(), (starts * itemsize).astype("<i8").tobytes(), boundaries.tobytes()]
    )
