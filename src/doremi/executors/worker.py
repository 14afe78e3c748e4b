"""A process that does one node and ends, so that its memory goes with it.

It is forked from a server that has loaded everything and started no thread (Python's own `forkserver`). It tells its
events through a pipe, and stops at the next step when the other end of that pipe says so or is gone: nobody would wait
for its work any more. Signals of the terminal are for the command, which passes them on; SIGTERM alone stops it.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from multiprocessing.connection import Connection
from types import FrameType

from doremi.distributed import start
from doremi.errors import DoremiError, Interrupted, RunError
from doremi.events.event import Event, Stepped
from doremi.events.stream import Watch
from doremi.executors.early import FOR_THE_COMMAND
from doremi.pipeline.executor import Ended, Task
from doremi.pipeline.preparing import trained_on
from doremi.pipeline.work import do
from doremi.pipeline.workspace import joined

STEPS_EVERY_SECONDS = 0.1  # faster than anybody reads


class Told(Watch):
    """The watch of a worker: events go through the pipe, a request to stop comes through it."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.stopping = False
        self._stepped = 0.0

    def emit(self, event: Event) -> None:
        if isinstance(event, Stepped) and event.step != event.steps:
            now = time.monotonic()
            if now - self._stepped < STEPS_EVERY_SECONDS:
                return
            self._stepped = now
        try:
            self.pipe.send(event)
        except OSError:  # nobody listens any more
            self.stopping = True

    def stop_requested(self) -> bool:
        try:
            if not self.stopping and self.pipe.poll():
                self.pipe.recv()
                self.stopping = True
        except (EOFError, OSError):
            self.stopping = True
        return self.stopping

    def on_signal(self, number: int, _: FrameType | None) -> None:
        self.stopping = True


def work(task: Task, pipe: Connection, device: str | None) -> None:
    """The whole life of a worker. `device`: the GPU that it has for itself, by its name for CUDA."""
    watch = Told(pipe)
    for number in FOR_THE_COMMAND:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_COMMAND)  # as the server has them
    signal.signal(signal.SIGTERM, watch.on_signal)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    ended = perform(task, watch)
    try:
        pipe.send(ended)
    except OSError:  # whoever would hear it is gone
        return


def perform(task: Task, watch: Watch) -> Ended:
    """Do a node, and say what came of it."""
    try:
        with joined(task.config, start(task.config.training.timeout), watch) as space:
            corpus = None if task.settings is None else trained_on(task.config, space.directory)
            do(space, corpus, task.node, task.settings)
    except (DoremiError, Interrupted, OSError) as error:
        return Ended(task.node, _sendable(error))
    except Exception as error:
        return Ended(task.node, RunError(f"{type(error).__name__}: {error}"), traceback.format_exc())
    return Ended(task.node)


def _sendable(error: BaseException) -> BaseException:
    """Itself, if it survives the way; an error with fields of its own may not."""
    try:
        type(error)(*error.args)  # as the other side makes it
    except TypeError:
        return RunError(str(error))
    return error
