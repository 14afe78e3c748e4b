"""Text to token bytes in several processes, in order, with a bounded number of chunks on the way.

The parent reads and writes; workers only encode. Chunks depend on the documents alone, so the result is the same for
any number of workers. A very long document is encoded in pieces, since encoding takes over 100 bytes of memory for each
byte of one text; it is cut only where its tokens stay those of the whole (cutting.py). Workers import nothing but
`tokenizers`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from doremi.corpus.cutting import pieces
from doremi.corpus.dropped import Dropped
from doremi.corpus.plain import Plain
from doremi.errors import RunError
from doremi.lent import available_cores

T = TypeVar("T")
# Characters sent to a worker at a time, and encoded as one text where it can be cut. Small, because at the end of every
# list of files all workers wait for the last chunk; the way there and back costs little beside the encoding.
CHUNK = 1 << 18
_AHEAD = 4  # chunks on the way for each worker
_PER_DOCUMENT = 64  # counted for each document beside its characters, so that tiny ones make no giant lists
_PARALLELISM = "TOKENIZERS_PARALLELISM"


@dataclass(frozen=True)
class Spec:
    """What a worker needs to know: how text is encoded, the id that ends documents, `uint16` or `uint32`."""

    plain: Plain
    end_of_text_id: int
    dtype: str


class Encoded(NamedTuple, Generic[T]):
    """A document: its little-endian tokens with end-of-text, how many of them are unknown, and its tag.

    `unknown` counts tokens that are the unknown token, and letters that the tokenizer drops, which are no tokens. It
    may be larger than the number of tokens.
    """

    tokens: bytes
    unknown: int
    tag: T


class _Part(NamedTuple):
    """What became of one text of a chunk: how many bytes its tokens have, and how much is unknown."""

    size: int
    unknown: int


_Result = tuple[bytes, list[_Part]]


class _Worker:
    def __init__(self, spec: Spec) -> None:
        plain = spec.plain
        self.tokenizer = plain.backend()
        self.unknown, self.lost = plain.unknown_id, plain.lost_id
        self.dropped = Dropped(self.tokenizer) if plain.drops else None
        self.end = spec.end_of_text_id
        self.letter = "H" if spec.dtype == "uint16" else "I"

    def encode(self, texts: list[str], last: list[bool]) -> _Result:
        """Little-endian ids of all texts, end-of-text after each that is `last` of its document; what each became."""
        packed: list[bytes] = []
        parts: list[_Part] = []
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for text, encoding, ends in zip(texts, encodings, last, strict=True):
            found, unknown = self._known(encoding.ids)
            if self.dropped is not None:
                unknown += self.dropped.count(text)
            if ends:
                found.append(self.end)
            # A quarter of the time that an array takes for them, one by one.
            packed.append(struct.pack(f"<{len(found)}{self.letter}", *found))
            parts.append(_Part(len(packed[-1]), unknown))
        return b"".join(packed), parts

    def _known(self, ids: list[int]) -> tuple[list[int], int]:
        """The ids without those of lost letters; how many stand for what is unknown or lost."""
        if self.unknown is not None:
            return ids, ids.count(self.unknown)
        if self.lost is not None and (lost := ids.count(self.lost)):
            return [id_ for id_ in ids if id_ != self.lost], lost
        return ids, 0


_worker: _Worker | None = None  # of this worker process; set once by _begin


def _begin(spec: Spec) -> None:
    """First act of a worker process."""
    global _worker
    os.environ[_PARALLELISM] = "false"
    end_with_parent()
    _worker = _Worker(spec)


def end_with_parent() -> None:
    """From now on this process ends with its parent, so that one that is killed leaves no orphan behind."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(texts: list[str], last: list[bool]) -> _Result:
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


def _chunks(documents: Iterable[tuple[str, T]], plain: Plain) -> Iterator[_Chunk[T]]:
    chunk: _Chunk[T] = _Chunk()
    cuts = plain.cut_pattern
    for text, tag in documents:
        for piece, last in pieces(plain.whole(text), CHUNK, cuts):
            if chunk.size >= CHUNK:
                yield chunk
                chunk = _Chunk()
            chunk.add(piece, last)
        chunk.tags.append(tag)
    if chunk.texts:
        yield chunk


# -- the pool --------------------------------------------------------------------------------------------------------


class Encoder:
    """Encodes documents with `workers` processes (1: in this one, no process is started). Use it in a `with`."""

    def __init__(self, spec: Spec, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._own: _Worker | None = None

    def __enter__(self) -> Encoder:
        if self._workers == 1:
            # A thread is given memory of its own by the system. This one's is full of the holes that a tokenizer has
            # left which was loaded and looked into, and encoding takes a tenth longer there.
            self._thread = ThreadPoolExecutor(1)
            self._own = self._thread.submit(_Worker, self._spec).result()
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
        if self._thread is not None:
            self._thread.shutdown()

    def encode(self, documents: Iterable[tuple[str, T]]) -> Generator[Encoded[T], None, None]:
        """Each `(text, tag)` encoded, in order."""
        waiting: deque[tuple[Future[_Result], _Chunk[T]]] = deque()
        join = _Joiner()
        try:
            for chunk in _chunks(documents, self._spec.plain):
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

    def _submit(self, texts: list[str], last: list[bool]) -> Future[_Result]:
        if self._pool is not None:
            with interrupt_held():
                return self._pool.submit(_encode, texts, last)
        assert self._own is not None
        assert self._thread is not None
        with _one_thread():
            future = self._thread.submit(self._own.encode, texts, last)
            wait([future])  # one worker means one core
        return future


class _Joiner:
    """Puts the pieces of cut documents together again."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._unknown = 0

    def documents(self, future: Future[_Result], chunk: _Chunk[T]) -> Iterator[Encoded[T]]:
        data, parts = future.result()
        tags = iter(chunk.tags)
        start = 0
        for part, last in zip(parts, chunk.last, strict=True):
            self._held.append(data[start : start + part.size])
            self._unknown += part.unknown
            start += part.size
            if last:
                yield Encoded(b"".join(self._held), self._unknown, next(tags))
                self._held, self._unknown = [], 0


@contextmanager
def interrupt_held() -> Iterator[None]:
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
    return workers or available_cores()
