"""Tokens of a domain that lie in the user's files, as segments of these (corpus/token_files.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.manifest import InPlace
from doremi.corpus.store import token_file
from doremi.corpus.token_files import SEGMENT, TokenSource
from doremi.corpus.value import Corpus
from doremi.drawing.order import I64


@dataclass(frozen=True)
class Lying:
    """Where documents are, `[R]` each: number of the file, first byte, bytes, and whether an end follows in no file."""

    file: I64
    start: I64
    size: I64
    ends: NDArray[np.bool_]


@dataclass(frozen=True)
class InSegments:
    """The tokens of a domain as if they lay in one file. What is asked for as bytes is read and put together."""

    corpus: Corpus
    domain: str

    def __getitem__(self, span: slice, /) -> memoryview:
        ids = np.empty((span.stop - span.start) // self._dtype.itemsize, np.int64)
        self._tokens.read(span.start // self._dtype.itemsize, ids)
        return memoryview(ids.astype(self._dtype).tobytes())

    @property
    def is_alike(self) -> bool:
        """Whether the files have the very bytes that are drawn. Ids are below 2^31, where a sign changes nothing."""
        return all(np.dtype(file.type).itemsize == self._dtype.itemsize for file in self._in_place.files)

    @property
    def end(self) -> bytes:
        """The token that ends documents without an end of their own."""
        return np.array([self._in_place.end], self._dtype).tobytes()

    def path(self, file: int) -> Path:
        return self.corpus.place(self.domain, file)

    def lying(self, start: I64, size: I64) -> Lying:
        """Documents from token `start` on, `size` tokens each. A document lies in one segment, and may end it."""
        tokens = self._segments["tokens"].astype(np.int64)
        upto = np.cumsum(tokens + self._segments["end"])
        number = np.searchsorted(upto, start, side="right")
        of = self._segments[number]
        ends = (of["end"] == 1) & (start + size == upto[number])
        inside = start - (upto[number] - tokens[number] - of["end"])
        item = self._dtype.itemsize
        return Lying(
            of["file"].astype(np.int64), of["offset"].astype(np.int64) + inside * item, (size - ends) * item, ends
        )

    @cached_property
    def _segments(self) -> NDArray[np.void]:
        return np.fromfile(self.corpus.path(self.domain, "train.segments"), SEGMENT)

    @cached_property
    def _tokens(self) -> TokenSource:
        return token_file(self.corpus, self.domain, "train")

    @property
    def _in_place(self) -> InPlace:
        found = self.corpus.entries[self.domain].in_place
        assert found is not None, "has no train.bin"
        return found

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self.corpus.dtype).newbyteorder("<")
