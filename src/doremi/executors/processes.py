"""Several trainings at once on this machine, each in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from types import TracebackType

from doremi.executors.early import context
from doremi.executors.worker import work
from doremi.pipeline.executor import Ended, Task
from doremi.pipeline.host import visible_devices
from doremi.pipeline.workspace import Workspace
from doremi.rundir.node import Node

SHORT_WHILE = 0.5  # seconds between looks at whether to stop
PATIENCE = 60.0  # seconds that a process may take to end after it has said its last


@dataclass
class _Worker:
    node: Node
    process: ForkServerProcess
    pipe: Connection
    place: int


class Processes:
    """An executor. Its processes are forked from one that has loaded everything; one GPU each, where there are any."""

    def __init__(self, space: Workspace, at_once: int) -> None:
        self.space, self.places = space, at_once
        self.devices = visible_devices() if space.world.device.type == "cuda" else ()
        self.workers: list[_Worker] = []
        self.context = context()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self.workers = []

    def start(self, task: Task) -> None:
        place = min(set(range(self.places)) - {worker.place for worker in self.workers})
        device = self.devices[place % len(self.devices)] if self.devices else None
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=work, args=(task, theirs, device), name=task.node.id)
        with _main_left_alone():
            process.start()
        theirs.close()
        self.workers.append(_Worker(task.node, process, ours, place))

    def wait(self) -> list[Ended]:
        told = connection.wait([worker.pipe for worker in self.workers], SHORT_WHILE)
        heard = [self._hear(worker) for worker in list(self.workers) if worker.pipe in told]
        return [ended for ended in heard if ended is not None]

    def _hear(self, worker: _Worker) -> Ended | None:
        """Pass on what a worker has told; what became of it, if it has ended."""
        try:
            while worker.pipe.poll():
                message = worker.pipe.recv()
                if isinstance(message, Ended):
                    self._leave(worker)
                    return message
                self.space.watch.emit(message)
        except (EOFError, OSError):
            self._leave(worker)
            code = worker.process.exitcode or 0
            return Ended(worker.node, lost=f"was ended by {_name(-code)}" if code < 0 else f"ended with code {code}")
        return None

    def _leave(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.process.join(PATIENCE)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()

    def stop(self) -> None:
        for worker in self.workers:
            try:
                worker.pipe.send("stop")
            except OSError:  # it has ended
                continue


@contextlib.contextmanager
def _main_left_alone() -> Iterator[None]:
    """Python would run the file of the program once more in each process, unless it finds no such file.

    A worker needs nothing of it, and it may be somebody's script that would begin the run anew.
    """
    main = vars(sys.modules["__main__"])
    names = ("__file__", "__spec__")
    kept = {name: main[name] for name in names if name in main}  # a notebook's has no file
    try:
        main.update(dict.fromkeys(names))
        yield
    finally:
        for name in names:
            del main[name]
        main.update(kept)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
