"""Who may do what in a run directory while others work there too. The files lie in `locks/` (docs/formats.md).

Everyone who works in a run holds `run` together with the others. Whoever drives it holds `driver` alone, and whoever
does a piece of work holds that. `records` is held for moments, around writing what all share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from doremi.rundir.lock import Lock, Say, Stop, Taken, is_held, waiting

FOLDER = "locks"
RUN, DRIVER, RECORDS = "run", "driver", "records"
PATIENCE_SECONDS = 1.0  # before a process is named that should be ready in a moment


def _never() -> bool:
    return False


def _nothing(message: str) -> None:
    """Has been said."""


@dataclass(frozen=True)
class Locks:
    """The locks of the run directory `root`. `say` is told whom we wait for."""

    root: Path
    say: Say
    joined: bool = False
    """Whether this process works for one that has said what kind of file system this is."""

    @contextlib.contextmanager
    def driver(self) -> Iterator[None]:
        """Drive the run, as one process at a time does; `Taken` names who drives it, at once."""
        with self._lock(DRIVER).alone():
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who works in the run; `Taken` names who else does, at once."""
        with self._lock(RUN).alone():
            yield

    @contextlib.contextmanager
    def shared(self, stop: Stop = _never) -> Iterator[None]:
        """Work in the run; waits for who is alone there. `Interrupted` once `stop()` says True."""

        def tell(taken: Taken) -> None:
            self.say(f"{self.root}: {taken.who} is starting or cleaning up here. Waiting for it{taken.gone}.")

        with waiting(self._lock(RUN).together, tell, stop, patience=PATIENCE_SECONDS):
            yield

    @contextlib.contextmanager
    def records(self) -> Iterator[None]:
        """Write what all share; waits for who does. Not to be taken twice."""

        def tell(taken: Taken) -> None:
            self.say(f"{self.root}: {taken.who} is writing the run's records. Waiting for it{taken.gone}.")

        with waiting(self._lock(RECORDS).alone, tell, _never, patience=PATIENCE_SECONDS):
            yield

    @contextlib.contextmanager
    def work(self, name: str, what: str, stop: Stop) -> Iterator[None]:
        """Do the piece of work with this `Node.lock`, called `what`; waits for who does it, and says who once.

        Whoever waited looks whether it is done meanwhile. `Interrupted` once `stop()` says True.
        """

        def tell(taken: Taken) -> None:
            self.say(f"{what}: {taken.who} is doing this. Waiting for it{taken.gone}.")

        with waiting(self._lock(name).alone, tell, stop):
            yield

    def is_driven(self) -> bool:
        """Whether a process drives the run."""
        return is_held(self.root / FOLDER / DRIVER)

    def _lock(self, name: str) -> Lock:
        return Lock(self.root, self.root / FOLDER / name, _nothing if self.joined else self.say)


def at_work(root: Path) -> frozenset[str]:
    """The `Node.lock` of each piece of work that a process is doing now; makes and changes nothing."""
    files = [path for ending in ("lock", "owner") for path in (root / FOLDER).glob(f"*.{ending}")]
    names = {path.stem for path in files} - {RUN, DRIVER, RECORDS}
    return frozenset(name for name in names if is_held(root / FOLDER / name))
