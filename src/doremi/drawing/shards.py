"""Shards on the disk: each whole or not there, by any number of processes, in any order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

from doremi.corpus.encoding import end_with_parent, interrupt_held
from doremi.drawing.forms import FORMS
from doremi.drawing.order import Order
from doremi.drawing.source import Source
from doremi.errors import RunError
from doremi.files import flush_to_disk

Done = Callable[[], None]


@dataclass(frozen=True)
class Job:
    """All that a shard depends on, and the folder that it goes to."""

    folder: Path
    to: str
    source: Source
    order: Order
    draws: tuple[int, ...]
    shards: int

    def paths(self, number: int) -> list[Path]:
        """The files of a shard."""
        return [self.folder / f"shard-{number:05}{ending}" for ending in FORMS[self.to].endings]


def write_shard(job: Job, number: int) -> None:
    """Write one shard: its files get their names once all of them are on the disk."""
    documents = job.source.open(job.order.shard(number, job.shards, job.draws))
    paths = job.paths(number)
    temporary = [path.with_name(f".{path.name}.tmp") for path in paths]
    try:
        FORMS[job.to].write(documents, temporary)
        for one, path in zip(temporary, paths, strict=True):
            flush_to_disk(one)
            one.replace(path)
    finally:
        for one in temporary:
            one.unlink(missing_ok=True)


Write = Callable[[Job, Sequence[int], int, Done], None]
"""Writes shards: this many of a job's, with so many processes, and says after each that it is done."""


def write_shards(job: Job, numbers: Sequence[int], workers: int, done: Done) -> None:
    """Write these shards with so many processes; `done` is called after each. The first error ends the rest.

    Text is decoded in this process where that is the only one, so that a user who stops it waits for no shard.
    """
    workers = min(workers, len(numbers))
    if workers < 2 and FORMS[job.to].is_text:
        for number in numbers:
            write_shard(job, number)
            done()
        return
    with _pool(workers) as pool:
        with interrupt_held():
            waiting = [pool.submit(write_shard, job, number) for number in numbers]
        try:
            for future in as_completed(waiting):
                future.result()
                done()
        except BrokenProcessPool:
            raise RunError(
                f"{job.folder}: a process that wrote there died, for lack of memory or because a token file was cut "
                "off. Run the same command again: finished shards are kept"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int) -> Executor:
    """Processes; for one worker two threads, since tokens mostly wait for the system to write and to flush them."""
    if workers < 2:
        return ThreadPoolExecutor(2)
    resource_tracker.ensure_running()
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """First act of a process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    end_with_parent()
