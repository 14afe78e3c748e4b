"""The token files of a corpus (docs/formats.md): writing with running checksums, checking, opening."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.manifest import InPlace, SplitCounts
from doremi.corpus.token_files import (
    AGAIN,
    SEGMENT,
    FlatFile,
    Segments,
    TokenSource,
    opened_file,
    with_more_files,
)
from doremi.corpus.value import Corpus, Split
from doremi.errors import DamageError, RunError, reason_of
from doremi.files import file_sha256

SPLITS: tuple[Split, ...] = ("train", "validation")
_BUFFER = 1 << 20
SAMPLED, SAMPLED_BYTES = 64, 1 << 12  # blocks of a file that its checksum is made of


# -- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the operating system says while we write (disk full, no permission) into one line for the user."""
    try:
        yield
    except OSError as error:
        raise disk_error(folder, error, 0) from None


def disk_error(path: Path, error: OSError, written: int) -> RunError:
    """What the operating system said after so many bytes, as one line for the user."""
    return RunError(
        f"{path}: cannot be written after {written:,} bytes ({error.strerror or error}); "
        "free disk space or choose another folder, then run again (finished domains are kept)"
    )


class _HashedFile:
    """A file that gets its final name in `finish`, and its SHA-256 on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._sha = hashlib.sha256()
        self._written = 0
        self._file = self._temporary.open("wb", buffering=_BUFFER)

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise disk_error(self.path, error, self._written) from None
        self._sha.update(data)
        self._written += len(data)

    def close(self) -> str:
        """Flush to the disk; the SHA-256 of the whole."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_error(self.path, error, self._written) from None
        self._file.close()
        return self._sha.hexdigest()

    def publish(self) -> None:
        self._temporary.replace(self.path)

    def discard(self) -> None:
        with suppress(OSError):  # what is still buffered may not fit either, and is not wanted any more
            self._file.close()
        self._temporary.unlink(missing_ok=True)


class _SplitFiles:
    """The files of one split of a domain, which appear together or not at all."""

    @property
    def _files(self) -> list[_HashedFile]:
        raise NotImplementedError

    def publish(self) -> None:
        """Give the closed files their final names."""
        for file in self._files:
            file.publish()

    def discard(self) -> None:
        """Leave nothing behind of what was not published."""
        for file in self._files:
            file.discard()


class SplitWriter(_SplitFiles):
    """Appends the documents of one split of one domain: tokens, ends and, for validation, records."""

    def __init__(self, folder: Path, split: str, dtype: str) -> None:
        self._itemsize = np.dtype(dtype).itemsize
        self._tokens = _HashedFile(folder / f"{split}.bin")
        self._ends = _HashedFile(folder / f"{split}.ends")
        self._records = _HashedFile(folder / f"{split}.documents") if split == "validation" else None
        self.longest = 0
        """Tokens of the longest document."""
        self.counts = {"documents": 0, "bytes": 0, "tokens": 0, "unknown": 0, "skipped": 0}

    def add(self, tokens: bytes, text_bytes: int, half: int = 0, *, unknown: int = 0) -> None:
        """One document: its little-endian tokens with end-of-text, the size of its text, its half of validation, and
        how many of its tokens are unknown.
        """
        counts = self.counts
        counts["documents"] += 1
        counts["bytes"] += text_bytes
        counts["tokens"] += (length := len(tokens) // self._itemsize)
        self.longest = max(self.longest, length)
        counts["unknown"] += unknown
        self._tokens.write(tokens)
        self._ends.write(counts["tokens"].to_bytes(8, "little"))
        if self._records is not None:
            self._records.write(text_bytes.to_bytes(4, "little") + half.to_bytes(4, "little"))

    def close(self, folder: str) -> dict[str, Any]:
        """Flush all to the disk: counts, and checksums by name under `folder`, as the manifest has them."""
        return {**self.counts, "files": {f"{folder}/{file.path.name}": file.close() for file in self._files}}

    @property
    def _files(self) -> list[_HashedFile]:
        return [self._tokens, self._ends, *([self._records] if self._records else [])]


class SegmentWriter(_SplitFiles):
    """Says where the training documents of a domain lie in the user's files, in place of their tokens."""

    def __init__(self, folder: Path, dtype: str, end: int) -> None:
        self._dtype, self._end = np.dtype(dtype).newbyteorder("<"), end
        self._ends = _HashedFile(folder / "train.ends")
        self._segments = _HashedFile(folder / "train.segments")
        self._open: list[int] | None = None  # the segment that may go on: file, end, offset, tokens
        self._stream = hashlib.sha256()
        self.longest = 0
        self.counts = {"documents": 0, "bytes": 0, "tokens": 0, "unknown": 0, "skipped": 0, "segments": 0}

    def add(self, file: int, offset: int, ids: NDArray[np.integer], *, text_bytes: int, ended: bool) -> None:
        """A document, which begins at byte `offset` of a file; it has its end there, or gets one (`ended` false)."""
        counts, extra = self.counts, int(not ended)
        counts["documents"] += 1
        counts["bytes"] += text_bytes
        counts["tokens"] += len(ids) + extra
        self.longest = max(self.longest, len(ids) + extra)
        self._stream.update(ids.astype(self._dtype).tobytes())
        if extra:
            self._stream.update(np.array([self._end], self._dtype).tobytes())
        self._ends.write(counts["tokens"].to_bytes(8, "little"))
        last = self._open
        if last is not None and not last[1] and last[0] == file and last[2] + last[3] * ids.itemsize == offset:
            last[1], last[3] = extra, last[3] + len(ids)
        else:
            self._flush()
            self._open = [file, extra, offset, len(ids)]

    def _flush(self) -> None:
        if self._open is not None:
            self._segments.write(np.array([tuple(self._open)], SEGMENT).tobytes())
            self.counts["segments"] += 1
            self._open = None

    @property
    def stream(self) -> str:
        """SHA-256 of the tokens of all documents, as train.bin would hold them."""
        return self._stream.hexdigest()

    def close(self, folder: str) -> dict[str, Any]:
        """As `SplitWriter` does."""
        self._flush()
        return {**self.counts, "files": {f"{folder}/{file.path.name}": file.close() for file in self._files}}

    @property
    def _files(self) -> list[_HashedFile]:
        return [self._ends, self._segments]


class DomainWriter:
    """Both splits of one domain, validation first. Leaving the `with` without `finish` leaves no file behind."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self._folder, self._dtype = folder, dtype
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(".*.tmp"):  # of a preparation that was killed
                left_over.unlink()
            self.validation = SplitWriter(folder, "validation", dtype)
        self._validation_counts: dict[str, Any] | None = None

    @cached_property
    def train(self) -> SplitWriter:
        """Made when it is first asked for: a thousand domains wait with their validation split done."""
        with disk_errors(self._folder):
            return SplitWriter(self._folder, "train", self._dtype)

    def __enter__(self) -> DomainWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.validation.discard()
        if "train" in self.__dict__:
            self.train.discard()

    def close_validation(self) -> None:
        """No more validation text comes; its files are closed, and wait for `finish`."""
        if self._validation_counts is None:
            self._validation_counts = self.validation.close(self._folder.name)

    def finish(self) -> dict[str, Any]:
        """Give all files their final names; the domain's counts and checksums as the manifest has them."""
        self.close_validation()
        entry = {"train": self.train.close(self._folder.name), "validation": self._validation_counts}
        with disk_errors(self._folder):
            for writer in (self.train, self.validation):
                writer.publish()
        return entry


# -- reading ---------------------------------------------------------------------------------------------------------


def tokens(corpus: Corpus, domain: str, split: str) -> NDArray[np.unsignedinteger]:
    """The token ids of a domain's `train` or `validation` file, all of them in memory. `[tokens]`."""
    path = corpus.path(domain, f"{split}.bin")
    try:
        return np.fromfile(path, np.dtype(corpus.dtype).newbyteorder("<"))
    except (OSError, ValueError) as error:
        raise DamageError(f"{path}: cannot be read ({reason_of(error)}); {AGAIN}") from None


def mapped(path: Path) -> memoryview:
    """The bytes of a file that is not empty, where they lie: for what copies them whole, many files at once.

    A file that is cut off meanwhile ends the process. Training reads with `FlatFile`, which says so instead.
    """
    try:
        descriptor = opened_file(path)
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    try:
        return memoryview(with_more_files(lambda: mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)))
    finally:
        os.close(descriptor)


def token_file(corpus: Corpus, domain: str, split: str) -> TokenSource:
    """The token ids of a domain's `train` or `validation` file, to be read where they lie."""
    in_place = corpus.entries[domain].in_place
    if in_place is None or split != "train":
        return FlatFile(corpus.path(domain, f"{split}.bin"), corpus.dtype)
    path = corpus.path(domain, "train.segments")
    try:
        segments = np.fromfile(path, SEGMENT)
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({reason_of(error)}); {AGAIN}") from None
    files = [(corpus.place(domain, number), one.type) for number, one in enumerate(in_place.files)]
    return Segments(files, segments, in_place.end, str(path))


def verify(corpus: Corpus, full: bool, *, in_place: bool = False) -> None:
    """`DamageError` naming the first file that is missing or has another size or, if `full`, another checksum.

    Sizes cost nothing; `full` reads every file once and recomputes the tokenizer's hash. Of files that are used where
    they lie a sample is read, and all that is used of them with `in_place`.
    """
    verify_files(corpus, full, SPLITS)
    verify_in_place(corpus, in_place)
    if full:
        _check_tokenizer(corpus)


def verify_in_place(corpus: Corpus, full: bool) -> None:
    """Files that are used where they lie: a sample of each, or all that is used of them if `full`."""
    for name, entry in corpus.entries.items():
        if entry.in_place is not None:
            _check_in_place(corpus, name, entry.in_place, full)


def verify_files(corpus: Corpus, full: bool, splits: Sequence[Split]) -> None:
    """The token files of `splits` as `verify` checks them."""
    itemsize = np.dtype(corpus.dtype).itemsize
    again = f"remove {corpus.folder} and run doremi prepare again"
    for entry in corpus.entries.values():
        for counts in (getattr(entry, split) for split in splits):
            for name, checksum in counts.files.items():
                path = corpus.folder / name
                _check_size(path, expected_size(path, counts, itemsize), again)
                if full and file_sha256(path) != checksum:
                    raise DamageError(f"{path}: its checksum is not the one it was written with; {again}")


def _check_in_place(corpus: Corpus, domain: str, in_place: InPlace, full: bool) -> None:
    """The user's files that a domain is used from: size and sampled checksum, or all tokens that are used."""
    again = f"put it back as it was, or remove {corpus.folder} and run doremi prepare again"
    for number, one in enumerate(in_place.files):
        path = corpus.place(domain, number)
        where = f"domain {domain!r} is used where it lies, and {path}"
        if not path.exists():
            raise DamageError(f"{where} is missing; {again}")
        if path.stat().st_size != one.bytes:
            raise DamageError(f"{where} has {path.stat().st_size:,} bytes instead of {one.bytes:,}; {again}")
        if sampled_sha256(path) != one.sample:
            raise DamageError(f"{where} has other bytes than when it was prepared; {again}")
    if full and _stream_sha256(corpus, domain) != in_place.tokens_sha256:
        raise DamageError(
            f"domain {domain!r} is used where it lies, and some of its tokens are others than when it was prepared "
            f"(its first file is {corpus.place(domain, 0)}); {again}"
        )


def sampled_sha256(path: Path) -> str:
    """SHA-256 of the size of a file and of blocks spread over it, the first and the last among them."""
    size, digest = path.stat().st_size, hashlib.sha256()
    digest.update(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        for number in range(SAMPLED):
            file.seek(max(0, (size - SAMPLED_BYTES) * number // (SAMPLED - 1)))
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()


def _stream_sha256(corpus: Corpus, domain: str) -> str:
    source, left, digest = token_file(corpus, domain, "train"), corpus.entries[domain].train.tokens, hashlib.sha256()
    dtype, start = np.dtype(corpus.dtype).newbyteorder("<"), 0
    while left:
        block = np.empty(min(left, _BUFFER), np.int64)
        source.read(start, block)
        digest.update(block.astype(dtype).tobytes())
        start, left = start + len(block), left - len(block)
    return digest.hexdigest()


def expected_size(path: Path, counts: SplitCounts, itemsize: int) -> int:
    """Bytes that a file of a split must have."""
    if path.suffix == ".segments":
        return counts.segments * SEGMENT.itemsize
    return counts.tokens * itemsize if path.suffix == ".bin" else counts.documents * 8


def _check_size(path: Path, expected: int, again: str) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({error.strerror}); {again}") from None
    if size != expected:
        raise DamageError(f"{path}: has {size:,} bytes instead of {expected:,}; {again}")


def _check_tokenizer(corpus: Corpus) -> None:
    from tokenizers import Tokenizer

    from doremi.corpus.tokenizer import tokenizer_sha256

    path = corpus.folder / "tokenizer" / "tokenizer.json"
    try:
        found = tokenizer_sha256(Tokenizer.from_str(path.read_text(encoding="utf-8")), corpus.tokenizer.end_of_text)
    except Exception as error:  # the library raises bare Exception for a broken file
        raise DamageError(f"{path}: cannot be read ({reason_of(error)}); {AGAIN}") from None
    if found != corpus.tokenizer.sha256:
        raise DamageError(f"{path}: is not the tokenizer that the corpus was made with; {AGAIN}")
