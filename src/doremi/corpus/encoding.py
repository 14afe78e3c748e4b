"""Text to token bytes in several processes, in order, with a bounded number of chunks on the way.

The parent reads and writes; workers only encode. Chunks depend on the documents alone, so the result is the same for
any number of workers. A very long document is encoded in pieces, since encoding takes over 100 bytes of memory for each
byte of one text. It is cut at a blank between two letters where there is one near: pre-tokenizers break there too,
so its tokens are those of the whole. Workers import nothing but `tokenizers`.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Generic, TypeVar

from tokenizers import Tokenizer

from doremi.errors import RunError

T = TypeVar("T")
# Characters sent to a worker at a time, and encoded as one text at most. Small, because at the end of every list of
# files all workers wait for the last chunk; the way there and back costs little beside the encoding.
CHUNK = 1 << 18
_SEARCH = 1 << 12  # characters before the end of a piece in which a place to cut is looked for
_AHEAD = 4  # chunks on the way for each worker
_PER_DOCUMENT = 64  # counted for each document beside its characters, so that tiny ones make no giant lists
# A letter with, after it, a blank and a letter, or an East Asian comma or full stop (those texts have no blanks).
_CUT = re.compile(r"[^\W\d_](?= [^\W\d_]|[\u3001\u3002\uff0c])")
_PARALLELISM = "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True)
class Spec:
    """What a worker needs to know: the serialised tokenizer, the id that ends documents, `uint16` or `uint32`."""

    tokenizer: str
    end_of_text_id: int
    dtype: str


class _Worker:
    def __init__(self, spec: Spec) -> None:
        self.tokenizer = Tokenizer.from_str(spec.tokenizer)
        self.tokenizer.encode_special_tokens = True
        self.end = spec.end_of_text_id
        self.typecode = "H" if spec.dtype == "uint16" else "I"

    def encode(self, texts: list[str], last: list[bool]) -> tuple[bytes, list[int]]:
        """Little-endian ids of all texts, end-of-text after each that is `last` of its document; bytes of each."""
        ids, lengths = array(self.typecode), []
        for encoding, ends in zip(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False), last, strict=True):
            before = len(ids)
            ids.extend(encoding.ids)
            if ends:
                ids.append(self.end)
            lengths.append((len(ids) - before) * ids.itemsize)
        if sys.byteorder == "big":
            ids.byteswap()
        return ids.tobytes(), lengths


_worker: _Worker | None = None  # of this worker process; set once by _begin


def _begin(spec: Spec) -> None:
    """First act of a worker process. A parent that is killed leaves no orphan behind."""
    global _worker
    os.environ[_PARALLELISM] = "false"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(spec)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(texts: list[str], last: list[bool]) -> tuple[bytes, list[int]]:
    assert _worker is not None
    return _worker.encode(texts, last)


# -- cutting documents into chunks -----------------------------------------------------------------------------------


@dataclass
class _Chunk(Generic[T]):
    texts: list[str] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)
    tags: list[T] = field(default_factory=list)  # one for each document that ends in this chunk
    size: int = 0

    def add(self, text: str, last: bool) -> None:
        self.texts.append(text)
        self.last.append(last)
        self.size += len(text) + _PER_DOCUMENT


def _chunks(documents: Iterable[tuple[str, T]]) -> Iterator[_Chunk[T]]:
    chunk: _Chunk[T] = _Chunk()
    for text, tag in documents:
        for piece, last in _pieces(text):
            if chunk.size >= CHUNK:
                yield chunk
                chunk = _Chunk()
            chunk.add(piece, last)
        chunk.tags.append(tag)
    if chunk.texts:
        yield chunk


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """`text` in pieces of at most CHUNK characters, each with whether it is the last."""
    start = 0
    while len(text) - start > CHUNK:
        end = _cut(text, start, start + CHUNK)
        yield text[start:end], False
        start = end
    yield text[start:] if start else text, True


def _cut(text: str, start: int, end: int) -> int:
    """The last place between `start` and `end` where pre-tokenizers break in any case, else `end` itself."""
    places = [match.end() for match in _CUT.finditer(text, max(start, end - _SEARCH), end)]
    return places[-1] if places else end


# -- the pool --------------------------------------------------------------------------------------------------------


class Encoder:
    """Encodes documents with `workers` processes (1: in this one, no process is started). Use it in a `with`."""

    def __init__(self, spec: Spec, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._own: _Worker | None = None

    def __enter__(self) -> Encoder:
        if self._workers == 1:
            self._own = _Worker(self._spec)
        else:
            # Started first: starting it lets Ctrl-C through again, and workers are to begin with it held back.
            resource_tracker.ensure_running()
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawn, _begin, (self._spec,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def encode(self, documents: Iterable[tuple[str, T]]) -> Generator[tuple[bytes, T], None, None]:
        """For each `(text, tag)` in order: the bytes of its tokens, end-of-text included, and the tag."""
        waiting: deque[tuple[Future[tuple[bytes, list[int]]], _Chunk[T]]] = deque()
        join = _Joiner()
        try:
            for chunk in _chunks(documents):
                waiting.append((self._submit(chunk.texts, chunk.last), chunk))
                while waiting and (waiting[0][0].done() or len(waiting) > _AHEAD * self._workers):
                    yield from join.documents(*waiting.popleft())
            while waiting:
                yield from join.documents(*waiting.popleft())
        except BrokenProcessPool:
            raise RunError(
                "a worker process of the preparation died, most often for lack of memory: set data.workers lower "
                "and run again (a script of your own also needs `if __name__ == '__main__':`)"
            ) from None
        finally:
            for future, _ in waiting:
                future.cancel()

    def _submit(self, texts: list[str], last: list[bool]) -> Future[tuple[bytes, list[int]]]:
        if self._pool is not None:
            with _interrupt_held():
                return self._pool.submit(_encode, texts, last)
        assert self._own is not None
        future: Future[tuple[bytes, list[int]]] = Future()
        with _one_thread():
            future.set_result(self._own.encode(texts, last))
        return future


class _Joiner:
    """Puts the pieces of cut documents together again."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def documents(self, future: Future[tuple[bytes, list[int]]], chunk: _Chunk[T]) -> Iterator[tuple[bytes, T]]:
        data, lengths = future.result()
        tags = iter(chunk.tags)
        start = 0
        for length, last in zip(lengths, chunk.last, strict=True):
            piece = data[start : start + length]
            start += length
            if not last:
                self._held.append(piece)
            elif self._held:
                yield b"".join([*self._held, piece]), next(tags)
                self._held = []
            else:
                yield piece, next(tags)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Workers are started by the first submissions and inherit what is held back: only the parent hears Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One worker means one core: the library would use all of them."""
    before = os.environ.get(_PARALLELISM)
    os.environ[_PARALLELISM] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLELISM]
        else:
            os.environ[_PARALLELISM] = before


def worker_count(workers: int) -> int:
    """`workers`, or the cores this process may use where it is 0."""
    cores: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return workers or (len(cores(0)) if cores else os.cpu_count() or 1)
