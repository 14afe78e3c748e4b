"""Shards on the disk: each whole or not there, by any number of processes, in any order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
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
    name_files(written(job, number))


Unnamed = list[tuple[Path, Path]]
"""Files under a temporary name, each with its final one."""


def written(job: Job, number: int) -> Unnamed:
    """The files of a shard, of which the system may still hold a part in memory."""
    documents = job.source.open(job.order.shard(number, job.shards, job.draws))
    files = [(path.with_name(f".{path.name}.tmp"), path) for path in job.paths(number)]
    try:
        FORMS[job.to].write(documents, [temporary for temporary, _ in files])
    except BaseException:
        _remove(files)
        raise
    return files


def name_files(files: Unnamed) -> None:
    """Flush the files of a shard to the disk, and name them."""
    try:
        for temporary, path in files:
            flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        _remove(files)


def _remove(files: Unnamed) -> None:
    for temporary, _ in files:
        temporary.unlink(missing_ok=True)


Write = Callable[[Job, Sequence[int], int, Done], None]
"""Writes these shards of a job with so many processes, and says after each that it is done."""


def write_shards(job: Job, numbers: Sequence[int], workers: int, done: Done) -> None:
    """Write these shards, so many at a time; `done` is called after each. The first error ends the rest."""
    workers = min(workers, len(numbers))
    if workers < 2:
        _one_by_one(job, numbers, done)
    elif FORMS[job.to].is_text or not job.source.is_alike:
        _by_processes(job, numbers, workers, done)
    else:  # the system does nearly all of the work, and that needs no interpreter
        with ThreadPoolExecutor(workers) as pool:
            _wait_for(pool, [pool.submit(write_shard, job, number) for number in numbers], done)


def _by_processes(job: Job, numbers: Sequence[int], workers: int, done: Done) -> None:
    resource_tracker.ensure_running()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin) as pool:
        with interrupt_held():
            waiting = [pool.submit(write_shard, job, number) for number in numbers]
        try:
            _wait_for(pool, waiting, done)
        except BrokenProcessPool:
            raise RunError(
                f"{job.folder}: a process that wrote there died, for lack of memory or because a token file was cut "
                "off. Run the same command again: finished shards are kept"
            ) from None


def _wait_for(pool: Executor, waiting: Sequence[Future[None]], done: Done) -> None:
    try:
        for future in as_completed(waiting):
            future.result()
            done()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _one_by_one(job: Job, numbers: Sequence[int], done: Done) -> None:
    """While the disk takes one shard, the next is written."""
    with ThreadPoolExecutor(1) as disk:
        naming: Future[None] | None = None
        for number in numbers:
            before, naming = naming, disk.submit(name_files, written(job, number))
            if before is not None:
                before.result()
                done()
        if naming is not None:
            naming.result()
            done()


def _begin() -> None:
    """First act of a process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    end_with_parent()
