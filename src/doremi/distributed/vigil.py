"""A thread that ends a process which waits on its GPU for another one that is lost.

Whoever waits over gloo is told by gloo after the time limit. Whoever waits for a GPU that waits for others over NCCL
hears nothing: only NCCL's own watchdog could end it, and that prints pages and names nobody. So each process writes
into the common store how far it has come, and that it is alive. Who has waited longer than the time limit looks who is
behind, or silent. If all are as far and alive, they are at work, and nobody is given up.
"""

# pyright: reportPrivateImportUsage=false
# torch.distributed gives its names to everyone, but does not list them.

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch.distributed import Store

EVERY_SECONDS = 2.0
SILENT_SECONDS = 30.0  # after which a process that should be heard every two seconds is stopped or gone
LATER_SECONDS = 15.0  # than the time limit: who waits over gloo says it first, and better
GONE = 2**62  # steps of a process that has ended well, and is not waited for
FAILED = "failed"
"""Under which the store has the message of the first process that failed."""


@dataclass(frozen=True)
class Heard:
    """What a process was last heard to have done, and when that came."""

    word: bytes
    at: float

    @property
    def steps(self) -> int:
        """How often it has come to wait for others."""
        return int(self.word.split(b"/")[0])


class Vigil(threading.Thread):
    """Watches from `start` to `stop`. `give_up` ends the process; it has no message where another has told it."""

    def __init__(self, store: Store, rank: int, size: int, patience: float) -> None:
        """`patience`: seconds that processes wait for one another over gloo."""
        super().__init__(name="vigil", daemon=True)
        self.store, self.rank, self.size, self.patience = store, rank, size, patience
        self.steps = 0
        self.give_up: Callable[[str], None] = lambda _: None
        self._stopped = threading.Event()
        self._heard: dict[int, Heard] = {}

    def step(self) -> None:
        """This process comes to wait for others."""
        self.steps += 1

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        seen, since, word = -1, time.monotonic(), 0
        with contextlib.suppress(RuntimeError):  # the store goes down with its process: there is nobody left to ask
            while not self._stopped.wait(EVERY_SECONDS):
                word += 1
                self.store.set(f"vigil/{self.rank}", f"{self.steps}/{word}")
                if self.steps != seen:
                    seen, since = self.steps, time.monotonic()
                    continue
                waited = time.monotonic() - since
                if waited > self.patience / 2:  # among hundreds of processes nobody asks for all the others each time
                    self._listen()
                if waited > SILENT_SECONDS and self.store.check([FAILED]):
                    self.give_up("")
                if waited > self.patience + LATER_SECONDS and (lost := self.lost()):
                    self.give_up(hangs(lost, self.size))
            self.store.set(f"vigil/{self.rank}", f"{GONE}/0")

    def _listen(self) -> None:
        for rank in range(self.size):
            key = f"vigil/{rank}"
            word = self.store.get(key) if self.store.check([key]) else b"0/0"
            if rank not in self._heard or self._heard[rank].word != word:
                self._heard[rank] = Heard(word, time.monotonic())

    def lost(self) -> list[int]:
        """Processes that are behind this one, or silent."""
        now = time.monotonic()
        others = {rank: heard for rank, heard in self._heard.items() if rank != self.rank and heard.steps < GONE}
        return [r for r, heard in others.items() if heard.steps < self.steps or now - heard.at > SILENT_SECONDS]


def hangs(lost: list[int], size: int) -> str:
    """What is said of processes that do not answer."""
    return _of(lost, size, "did not answer in time (it hangs or is stopped)")


def died(lost: list[int], size: int) -> str:
    """What is said of processes that have ended."""
    return _of(lost, size, "died without a word")


def _of(lost: list[int], size: int, what: str) -> str:
    again = "Run the same command to resume from the last checkpoint."
    return f"rank {', '.join(map(str, lost))} of {size} {what}. {again}"
