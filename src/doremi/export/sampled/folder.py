"""Who may write into the folder of a data set: one command alone, or several, each with shards of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.sampled.stint import Stint
from doremi.rundir.lock import Lock, Taken, ending

_LOCK = ".doremi-sample"


@contextlib.contextmanager
def at_work(out: Path, stint: Stint, say: Callable[[str], None]) -> Iterator[None]:
    """Nobody else does the same meanwhile; `ExportError` names who does."""
    try:
        with contextlib.ExitStack() as stack:
            folder = Lock(out, out / _LOCK, say)
            if stint.begins or stint.ends or stint.share is None:
                stack.enter_context(folder.alone())
            else:
                stack.enter_context(folder.together())
                stack.enter_context(_share(out, stint.share, say))
            yield
    except Taken as error:
        raise ExportError(
            f"{out}: {error.who} is writing there; wait for it or choose another folder{error.gone}"
        ) from None


@contextlib.contextmanager
def _share(out: Path, share: tuple[int, int], say: Callable[[str], None]) -> Iterator[None]:
    """A task that is put back into the queue may come while the one before it is still at work, on a lost machine."""
    path = out / "{}-{}-of-{}".format(_LOCK, *share)
    with Lock(out, path, say).alone():
        try:
            yield
        finally:  # while it is held: who waits for it sees that it is gone
            ending(path, "lock").unlink(missing_ok=True)
