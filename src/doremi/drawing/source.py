"""The token files that documents are copied from, and the documents of a shard as bytes or as text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from doremi.corpus.store import AGAIN, mapped
from doremi.corpus.value import Corpus
from doremi.drawing.counts import lengths
from doremi.drawing.gather import write_stretches
from doremi.drawing.in_place import InSegments
from doremi.drawing.order import I64, Drawn
from doremi.errors import DamageError, one_line, reason_of

# Bytes of tokens that are handled at a time, where no document has more.
COPIED = 1 << 18  # stays in a core's cache between joining and writing
DECODED = 8 << 20  # also a row group of Parquet


class Tokens(Protocol):
    """The tokens of a domain as bytes."""

    def __getitem__(self, span: slice, /) -> memoryview: ...


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
    def is_alike(self) -> bool:
        """Whether documents lie in files as they are drawn, so that nothing has to be put together."""
        return all(_is_alike(self._tokens(number)) for number in range(len(self.folders)))

    def ends(self, domain: int) -> NDArray[np.uint64]:
        """Where each document ends, in tokens; read where it lies."""
        return np.frombuffer(mapped(self.folders[domain] / "train.ends"), "<u8")

    def _tokens(self, domain: int) -> Tokens:
        """The tokens of a domain, of one file or of segments of the user's."""
        folder = self.folders[domain]
        if (folder / "train.bin").exists():
            return mapped(folder / "train.bin")
        corpus = _corpus(folder.parent, (folder.parent / "manifest.json").stat().st_mtime_ns)
        return InSegments(corpus, list(corpus.entries)[domain])

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
        if all(map(_is_alike, self.files.values())):
            write_stretches(descriptor, *self._stretches())
            return
        for chunk in self.chunks():
            data = memoryview(b"".join(chunk))
            while data:  # the system may take less than it is given
                data = data[os.write(descriptor, data) :]

    def _stretches(self) -> tuple[list[memoryview], I64, I64, I64]:
        """Maps of files; and for each stretch the number of its map, its first byte and its bytes.

        A document is a stretch, and one more where its end is in no file.
        """
        maps, item = list[memoryview](), self.source.itemsize
        rows = np.zeros((len(self.domain), 2, 3), np.int64)
        for domain, tokens in self.files.items():
            mine = self.domain == domain
            start, size = self.start[mine], self.size[mine]
            if not isinstance(tokens, InSegments):
                rows[mine, 0] = np.stack([np.full(len(start), len(maps)), start * item, size * item], 1)
                maps.append(tokens[:])
                continue
            lying = tokens.lying(start, size)
            used, number = np.unique(lying.file, return_inverse=True)
            rows[mine, 0] = np.stack([number + len(maps), lying.start, lying.size], 1)
            maps += [mapped(tokens.path(file)) for file in used.tolist()]
            rows[mine, 1] = np.stack([np.full(len(start), len(maps)), 0 * start, lying.ends * item], 1)
            maps.append(memoryview(tokens.end))
        file, start, size = rows.reshape(-1, 3).T
        some = size > 0
        return maps, file[some], start[some], size[some]

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


def _is_alike(tokens: Tokens) -> bool:
    return not isinstance(tokens, InSegments) or tokens.is_alike


@lru_cache(maxsize=4)
def _corpus(folder: Path, _written: int) -> Corpus:
    """Read once for all of its domains and shards, as long as nobody writes it anew."""
    return Corpus.read(folder)


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a folder of a corpus; `DamageError` for a file that is none."""
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing more exact
        raise DamageError(one_line(f"{path}: is no tokenizer ({reason_of(error)}); {AGAIN}")) from None
