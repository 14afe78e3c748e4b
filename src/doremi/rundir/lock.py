"""One worker a run directory: a lock of the operating system, or where a file system has none, a file that says who.

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
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from doremi.errors import DoremiError, RunError
from doremi.files import FORMAT, read_json, write_json

LOCK, OWNER = "run.lock", "run.owner"
NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextlib.contextmanager
def only_worker(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the run directory; `RunError` names who else does. `say` is told where there is no flock."""
    with (root / LOCK).open("a+") as file:
        locked = _flock(file.fileno())
        if locked is False:
            file.seek(0)
            raise RunError(f"{root}: process {file.read().strip() or 'unknown'} {_WORKS}")
        if locked:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        else:
            say(f"{root}: this file system has no locks (flock); {OWNER} keeps other processes out instead")
        # a machine that mounts the same folder without locks may be at work there
        with _owned(root / OWNER) if locked is None or (root / OWNER).exists() else contextlib.nullcontext():
            yield


_WORKS = "is working in this run directory; wait for it, stop it, or give this run another name"


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


def _taken(path: Path, owner: Owner | None) -> RunError:
    who = f"process {owner.process} on {owner.host}" if owner else "another process"
    return RunError(f"{path.parent}: {who} {_WORKS}; if it is gone, as after a restart of that machine, remove {path}")
