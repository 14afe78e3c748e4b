"""The token files that documents are copied from, and the documents of a shard as bytes or as text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from doremi.corpus.store import AGAIN, mapped, token_file
from doremi.corpus.token_files import TokenSource
from doremi.corpus.value import Corpus
from doremi.drawing.counts import lengths
from doremi.drawing.gather import write_stretches
from doremi.drawing.order import I64, Drawn
from doremi.errors import DamageError, one_line, reason_of

# Bytes of tokens that are handled at a time, where no document has more.
COPIED = 1 << 18  # stays in a core's cache between joining and writing
DECODED = 8 << 20  # also a row group of Parquet


class Tokens(Protocol):
    """The tokens of a domain as bytes."""

    def __getitem__(self, span: slice, /) -> memoryview: ...


@dataclass(frozen=True)
class InSegments:
    """Tokens of many files as if they lay in one; each stretch is read when it is asked for."""

    tokens: TokenSource
    dtype: str

    def __getitem__(self, span: slice, /) -> memoryview:
        dtype = np.dtype(self.dtype).newbyteorder("<")
        ids = np.empty((span.stop - span.start) // dtype.itemsize, np.int64)
        self.tokens.read(span.start // dtype.itemsize, ids)
        return memoryview(ids.astype(dtype).tobytes())


@dataclass(frozen=True)
class Source:
    """Where a corpus keeps its training documents: plain values, which other processes are handed."""

    folders: tuple[Path, ...]
    """Of each domain, `[K]`."""
    tokenizer: Path
    dtype: str
    end_of_text: int

    @classmethod
    def of(cls, corpus: Corpus) -> Source:
        folder = corpus.folder.resolve()
        folders = tuple(folder / entry.folder for entry in corpus.entries.values())
        return cls(folders, folder / "tokenizer", corpus.dtype, corpus.tokenizer.end_of_text_id)

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize

    @property
    def is_mapped(self) -> bool:
        """Whether each domain is one file, so that nothing has to be put together."""
        return all((folder / "train.bin").exists() for folder in self.folders)

    def ends(self, domain: int) -> NDArray[np.uint64]:
        """Where each document ends, in tokens; read where it lies."""
        return np.frombuffer(mapped(self.folders[domain] / "train.ends"), "<u8")

    def _tokens(self, domain: int) -> Tokens:
        """The tokens of a domain, of one file or of segments of the user's."""
        path = self.folders[domain] / "train.bin"
        if path.exists():
            return mapped(path)
        corpus = Corpus.read(self.folders[domain].parent)
        return InSegments(token_file(corpus, list(corpus.entries)[domain], "train"), self.dtype)

    def open(self, drawn: Drawn) -> Documents:
        """The documents of these draws."""
        size, start = np.zeros((2, len(drawn.domain)), dtype=np.int64)
        files: dict[int, Tokens] = {}
        for domain in np.flatnonzero(np.bincount(drawn.domain)).tolist():
            of_domain, ends = np.flatnonzero(drawn.domain == domain), self.ends(domain)
            document = drawn.document[of_domain]
            size[of_domain] = lengths(ends, document)
            start[of_domain] = ends[document].astype(np.int64) - size[of_domain]
            files[domain] = self._tokens(domain)
        return Documents(self, files, drawn.domain, start, size)


@dataclass(frozen=True)
class Documents:
    """Documents in the order of a shard, `[R]` each: the domain, its first token's number in the file, its tokens."""

    source: Source
    files: dict[int, Tokens]
    domain: I64
    start: I64
    size: I64

    def write(self, descriptor: int) -> None:
        """Write all documents one behind the other; each with the end of its text."""
        maps = [one for one in self.files.values() if isinstance(one, memoryview)]
        if len(maps) == len(self.files):
            number, item = np.searchsorted(list(self.files), self.domain), self.source.itemsize
            write_stretches(descriptor, maps, number, self.start * item, self.size * item)
            return
        for chunk in self.chunks():
            data = memoryview(b"".join(chunk))
            while data:  # the system may take less than it is given
                data = data[os.write(descriptor, data) :]

    def chunks(self, size: int = COPIED) -> Iterator[list[memoryview]]:
        """All documents as little-endian tokens, about `size` bytes at a time; each with the end of its text."""
        item = self.source.itemsize
        first, last = (self.start * item).tolist(), ((self.start + self.size) * item).tolist()
        domain, files = self.domain.tolist(), self.files
        upto = np.cumsum(self.size * item)
        whole = int(upto[-1]) if len(upto) else 0
        cuts = np.unique(np.searchsorted(upto, np.arange(size, whole, size))).tolist()
        for begin, end in zip([0, *cuts], [*cuts, len(domain)], strict=True):
            spans = zip(domain[begin:end], first[begin:end], last[begin:end], strict=True)
            yield [files[one][start:stop] for one, start, stop in spans]

    def texts(self) -> Iterator[list[str]]:
        """All documents as text, without the token that ends it."""
        for chunk in self.chunks(DECODED):
            yield self._tokenizer.decode_batch([self._ids(one) for one in chunk], skip_special_tokens=False)

    def ids(self) -> Iterator[list[int]]:
        """All documents as token ids, without the one that ends the text."""
        return (self._ids(one) for chunk in self.chunks() for one in chunk)

    def _ids(self, document: memoryview) -> list[int]:
        ids = np.frombuffer(document, np.dtype(self.source.dtype).newbyteorder("<")).tolist()
        return ids[:-1] if ids[-1] == self.source.end_of_text else ids

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return read_tokenizer(self.source.tokenizer)


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder of a corpus; `DamageError` for a file that is none."""
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing more exact
        raise DamageError(one_line(f"{path}: is no tokenizer ({reason_of(error)}); {AGAIN}")) from None
