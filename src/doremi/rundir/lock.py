"""A lock of the operating system, which ends with the process however that ends; where a file system has none, files.

`NAME.lock` is locked with flock, for one process alone or for several together, and says who they are. Lustre without
`-o flock`, NFS without a lock daemon and some FUSE file systems refuse it. There `NAME.owner` is made in its place by
who is alone, and `NAME.*.holder` by each of several (owner.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from doremi.errors import Interrupted, RunError
from doremi.rundir.owner import Owned, Owner, announced, others, owned, owner_of

CORPUS = "corpus"  # name of the lock in a corpus folder
Say = Callable[[str], None]
Stop = Callable[[], bool]

NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, 524)
"""What file systems without flock answer. EINVAL comes from some FUSE and 9p mounts, for our arguments are right. 524
is ENOTSUPP, the kernel's own word for EOPNOTSUPP, which some network file systems give away."""
IS_HELD = (errno.EAGAIN, errno.EACCES)  # the second on SMB
TRIES, TRY_EVERY_SECONDS = 3, 0.01  # `doremi status` holds a lock for the moment in which it looks at it
ASK_EVERY_SECONDS = 0.2
AT_FIRST = (0.01, 0.02, 0.05, 0.1)  # most are held for a moment only
_WORKS = "is working in this run directory; wait for it, stop it, or give this run another name"
_held: set[FileIO] = set()
_told: set[int] = set()  # devices of which it was said that they have no locks


class Taken(RunError):
    """Another process is at work there: `who`. `gone` says what to do where only a person can tell that it is gone."""

    def __init__(self, root: Path, who: str, remove: Path | None = None) -> None:
        self.who = who
        self.gone = f"; if it is gone, as after a restart of that machine, remove {remove}" if remove else ""
        super().__init__(f"{root}: {who} {_WORKS}{self.gone}")


@dataclass(frozen=True)
class Lock:
    """A lock on something in `root`. `say` is told, once in this process, where a file system has no locks."""

    root: Path
    path: Path
    """Its files are this and an ending."""
    say: Say

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it with nobody beside; `Taken` names who does, at once."""
        with contextlib.ExitStack() as stack:
            has_locks = stack.enter_context(self._flocked(fcntl.LOCK_EX))
            owner = ending(self.path, "owner")
            # a machine that mounts the same folder without locks may be at work there
            if not has_locks or owner.exists():
                try:
                    stack.enter_context(owned(owner))
                except Owned as error:
                    raise Taken(self.root, named(error.owner), error.path) from None
            for holder, other in others(self.path):
                raise Taken(self.root, named(other), holder)
            yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Hold it with others who do the same; `Taken` names who is alone there, at once."""
        with contextlib.ExitStack() as stack:
            has_locks = stack.enter_context(self._flocked(fcntl.LOCK_SH))
            owner = ending(self.path, "owner")
            if not has_locks or owner.exists():
                stack.enter_context(announced(self.path))
            # after the announcement, as who wants to be alone looks after making its file: one of two sees the other
            if _is_owned(owner):
                raise Taken(self.root, named(owner_of(owner)), owner)
            yield

    @contextlib.contextmanager
    def _flocked(self, how: int) -> Iterator[bool]:
        """Hold the lock file, if the file system has locks: whether it has."""
        path = ending(self.path, "lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileIO(path, "a+") as file:
            _held.add(file)
            try:
                locked = _flock(file, how, TRIES)
                if locked is False or not path.exists():  # it is removed with a corpus folder
                    raise Taken(self.root, _signed(file))
                if locked:
                    _sign(file, how)
                else:
                    self._tell(file)
                yield locked is not None
            finally:
                _held.discard(file)
                _release(file)

    def _tell(self, file: FileIO) -> None:
        device = os.fstat(file.fileno()).st_dev
        if device not in _told:
            _told.add(device)
            self.say(f"{self.root}: this file system has no locks (flock); files keep other processes out instead")


def ending(path: Path, name: str) -> Path:
    """A file of a lock."""
    return path.with_name(f"{path.name}.{name}")


def is_held(path: Path) -> bool:
    """Whether a process has this lock alone, for who only looks: nothing is made or changed."""
    with contextlib.suppress(OSError), FileIO(ending(path, "lock")) as file:
        if _flock(file, fcntl.LOCK_SH, 1) is False:
            return True
    return _is_owned(ending(path, "owner"))


def _is_owned(path: Path) -> bool:
    owner = owner_of(path)
    return path.exists() if owner is None else not owner.ended


# -- flock ------------------------------------------------------------------------------------------------------------


def _flock(file: FileIO, how: int, tries: int) -> bool | None:
    """Whether we have the lock; None where the file system has none."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_FLOCK:
                return None
            if error.errno not in IS_HELD:
                raise
        else:
            return True
        if left:
            time.sleep(TRY_EVERY_SECONDS)
    return False


def _release(file: FileIO) -> None:
    """At once: a process that was forked from this one may still have the file."""
    if not file.closed:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _leave_to_parent() -> None:
    """In a fork: the locks are the parent's, and end when that does."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


# -- who --------------------------------------------------------------------------------------------------------------


def _sign(file: FileIO, how: int) -> None:
    """Write who holds it, one a line. A full disk must not keep `doremi clean` from its work."""
    with contextlib.suppress(OSError):
        if how == fcntl.LOCK_EX:
            file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n".encode())


def _signed(file: FileIO) -> str:
    """The last of those in a lock file who may still be there."""
    try:
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
    except OSError:  # on SMB what another has locked cannot be read
        lines = []
    here = socket.gethostname()
    entries = [(parts[0], parts[1]) for line in lines if len(parts := line.split()) == 2]
    alive = [(process, host) for process, host in entries if host != here or Path(f"/proc/{process}").exists()]
    for process, host in reversed(alive):
        return f"process {process}" + ("" if host == here else f" on {host}")
    return named(None)


def named(owner: Owner | None) -> str:
    """A process in words."""
    return f"process {owner.process} on {owner.host}" if owner else "another process"


# -- taking turns -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def waiting(
    take: Callable[[], AbstractContextManager[None]], tell: Callable[[Taken], None], stop: Stop, *,
    patience: float = 0.0, stopped: str = "stopped while waiting for another process",
) -> Iterator[None]:  # fmt: skip
    """Hold what `take` takes as soon as it is free; `Interrupted` with `stopped` once `stop()` says True.

    `tell` is told who has it, once, after `patience` seconds.
    """
    began, told, pauses = time.monotonic(), False, iter(AT_FIRST)
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(take())
                break
            except Taken as taken:
                if not told and time.monotonic() - began >= patience:
                    told = True
                    tell(taken)
            if stop():
                raise Interrupted(f"{stopped}. Run the same command to resume.")
            time.sleep(next(pauses, ASK_EVERY_SECONDS))
        yield


@contextlib.contextmanager
def in_turn(corpus: Path, say: Say, stop: Stop) -> Iterator[None]:
    """Hold a corpus folder; where another process does, say so and wait. `Interrupted` once `stop()` says True."""

    def tell(taken: Taken) -> None:
        say(f"{corpus}: {taken.who} is preparing this corpus. Waiting for it{taken.gone}.")

    lock = Lock(corpus, corpus / CORPUS, say)
    with waiting(lock.alone, tell, stop, stopped="stopped while another process prepared the corpus"):
        yield
