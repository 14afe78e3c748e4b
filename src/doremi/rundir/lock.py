"""One worker a run directory: a lock of the operating system, or where a file system has none, a file that says who.

A corpus that several runs share has the same (`corpus.lock`), but there the second worker waits for the first.

`run.lock` is locked with flock, which ends with the process however that ends. Lustre without `-o flock`, NFS without
a lock daemon and some FUSE file systems refuse it. There `run.owner` is made in its place, which only one process can
(O_EXCL), on whatever machine. It is removed at the end; that of a killed process stays:

- of this machine, process gone: taken over;
- of another machine, which we cannot ask: the user is told who it was, and which file to remove.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from doremi.errors import DoremiError, Interrupted, RunError
from doremi.files import FORMAT, read_json, write_json

LOCK, OWNER = "run.lock", "run.owner"
CORPUS = "corpus"  # first part of the names of these files in a corpus folder
ASK_EVERY_SECONDS = 0.2
_WORKS = "is working in this run directory; wait for it, stop it, or give this run another name"
NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class Taken(RunError):
    """Another process is at work there; `who` and, where only a person can tell that it is gone, `remove`."""

    def __init__(self, root: Path, who: str, remove: Path | None = None) -> None:
        gone = f"; if it is gone, as after a restart of that machine, remove {remove}" if remove else ""
        super().__init__(f"{root}: {who} {_WORKS}{gone}")
        self.who, self.gone = who, gone


@contextlib.contextmanager
def only_worker(root: Path, say: Callable[[str], None], name: str = "run") -> Iterator[None]:
    """Hold the run directory; `Taken` names who else does. `say` is told where there is no flock.

    `name` is the first part of the names of the lock and the owner file.
    """
    owner = root / f"{name}.owner"
    with (root / f"{name}.lock").open("a+") as file:
        locked = _flock(file.fileno())
        if locked is False:
            file.seek(0)
            raise Taken(root, f"process {file.read().strip() or 'unknown'}")
        if locked:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        else:
            say(f"{root}: this file system has no locks (flock); {owner.name} keeps other processes out instead")
        # a machine that mounts the same folder without locks may be at work there
        with _owned(owner) if locked is None or owner.exists() else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def in_turn(corpus: Path, say: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[None]:
    """Hold a corpus folder; where another process does, say so and wait. `Interrupted` once `stop()` says True."""
    corpus.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for turn in itertools.count():
            try:
                stack.enter_context(only_worker(corpus, say if turn == 0 else _silent, CORPUS))
                break
            except Taken as taken:
                if turn == 0:
                    say(f"{corpus}: {taken.who} is preparing this corpus. Waiting for it{taken.gone}.")
            if stop():
                raise Interrupted("stopped while another process prepared the corpus")
            time.sleep(ASK_EVERY_SECONDS)
        yield


def _silent(message: str) -> None:
    pass


def _flock(descriptor: int) -> bool | None:
    """Whether we have the lock; None where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
        return None
    return True


# -- without flock ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Owner:
    """A process, so that no other one is ever taken for it."""

    host: str
    machine: str
    """This boot of the machine, and the container's own numbering of processes."""
    process: int
    started: str
    """Ticks from boot to the start of the process: its number is used again after it ends."""

    @classmethod
    def of(cls, process: int) -> Owner | None:
        """The process with that number on this machine, None if there is none."""
        started = _started(process)
        return None if started is None else cls(socket.gethostname(), _machine(), process, started)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(process: int) -> str | None:
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    except OSError:
        return None


@contextlib.contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Have `path` as ours; it is there, whole or not, from the moment on that nobody else can make it."""
    me = Owner.of(os.getpid())
    assert me is not None, "Linux has /proc"
    if not _made(path, me):
        _take_over(path, me)
    try:
        yield
    finally:
        if _owner(path) == me:
            path.unlink(missing_ok=True)


def _made(path: Path, me: Owner) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    write_json(path, {"format": FORMAT, **asdict(me)})
    return True


def _owner(path: Path) -> Owner | None:
    """Who a file names; None if it is gone, or does not say (yet)."""
    try:
        value = read_json(path, "owner of a run directory")
        return Owner(value["host"], value["machine"], value["process"], value["started"])
    except DoremiError:
        return None


def _take_over(path: Path, me: Owner) -> None:
    """Replace the file of a process of this machine that has ended; only one process at a time may try."""
    turn = path.with_name(f"{path.name}.turn")
    if not _made(turn, me):
        raise _taken(turn, _owner(turn))
    try:
        other = _owner(path)  # read now that nobody else takes it over
        if other is None or other.machine != me.machine or Owner.of(other.process) == other:
            raise _taken(path, other)
        write_json(path, {"format": FORMAT, **asdict(me)})
    finally:
        turn.unlink(missing_ok=True)


def _taken(path: Path, owner: Owner | None) -> Taken:
    return Taken(path.parent, f"process {owner.process} on {owner.host}" if owner else "another process", path)
