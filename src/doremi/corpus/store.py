"""The token files of a corpus (docs/formats.md): writing with running checksums, checking, opening."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import resource
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.manifest import SplitCounts
from doremi.corpus.value import Corpus, Split
from doremi.errors import DamageError, RunError, reason_of
from doremi.files import file_sha256

T = TypeVar("T")
SPLITS: tuple[Split, ...] = ("train", "validation")
_BUFFER = 1 << 20
_DISK = "check the disk, then run the same command to resume from the last checkpoint"
AGAIN = "remove the corpus folder and run doremi prepare again"


# -- writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the operating system says while we write (disk full, no permission) into one line for the user."""
    try:
        yield
    except OSError as error:
        raise _disk_error(folder, error, 0) from None


def _disk_error(path: Path, error: OSError, written: int) -> RunError:
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
            raise _disk_error(self.path, error, self._written) from None
        self._sha.update(data)
        self._written += len(data)

    def close(self) -> str:
        """Flush to the disk; the SHA-256 of the whole."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _disk_error(self.path, error, self._written) from None
        self._file.close()
        return self._sha.hexdigest()

    def publish(self) -> None:
        self._temporary.replace(self.path)

    def discard(self) -> None:
        with suppress(OSError):  # what is still buffered may not fit either, and is not wanted any more
            self._file.close()
        self._temporary.unlink(missing_ok=True)


class SplitWriter:
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

    def publish(self) -> None:
        """Give the closed files their final names."""
        for file in self._files:
            file.publish()

    def discard(self) -> None:
        """Leave nothing behind of what was not published."""
        for file in self._files:
            file.discard()

    @property
    def _files(self) -> list[_HashedFile]:
        return [self._tokens, self._ends, *([self._records] if self._records else [])]


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


class FlatFile:
    """Numbers of one file (token ids, losses), read piece by piece; nothing of it is kept.

    With `pread`, not through a memory map: a map gives a disk that fails, or a file that was cut off under our hands,
    the form of a SIGBUS, which ends the process without a word.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        self.path, self.dtype = path, np.dtype(dtype).newbyteorder("<")
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise DamageError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, start: int, out: NDArray[np.int64] | NDArray[np.float32]) -> None:
        """Fill `out` with the numbers from place `start` on; `DamageError` if the file does not give them."""
        size = self.dtype.itemsize
        try:
            data = os.pread(self._descriptor, len(out) * size, start * size)
        except OSError as error:
            raise DamageError(f"{self.path}: cannot be read at token {start:,} ({error.strerror}); {_DISK}") from None
        if len(data) < len(out) * size:
            raise DamageError(f"{self.path}: ends before token {start + len(out):,}; {AGAIN}")
        out[:] = np.frombuffer(data, self.dtype)


def _open(path: Path) -> int:
    """A descriptor; the limit on them is raised where the shell's is too low for a thousand domains."""
    return _with_more_files(lambda: os.open(path, os.O_RDONLY))


def _with_more_files(opening: Callable[[], T]) -> T:
    """What `opening` opens; once more with a higher limit on descriptors where it meets that limit."""
    try:
        return opening()
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return opening()


def mapped(path: Path) -> memoryview:
    """The bytes of a file that is not empty, where they lie: for what copies them whole, many files at once.

    A file that is cut off meanwhile ends the process. Training reads with `FlatFile`, which says so instead.
    """
    try:
        descriptor = _open(path)
    except OSError as error:
        raise DamageError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    try:
        return memoryview(_with_more_files(lambda: mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)))
    finally:
        os.close(descriptor)


def token_file(corpus: Corpus, domain: str, split: str) -> FlatFile:
    """The token ids of a domain's `train` or `validation` file, to be read where they lie."""
    return FlatFile(corpus.path(domain, f"{split}.bin"), corpus.dtype)


def verify(corpus: Corpus, full: bool) -> None:
    """`DamageError` naming the first file that is missing or has another size or, if `full`, another checksum.

    Sizes cost nothing; `full` reads every file once and recomputes the tokenizer's hash.
    """
    verify_files(corpus, full, SPLITS)
    if full:
        _check_tokenizer(corpus)


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


def expected_size(path: Path, counts: SplitCounts, itemsize: int) -> int:
    """Bytes that a file of a split must have."""
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
