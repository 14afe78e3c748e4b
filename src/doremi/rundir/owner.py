"""Files that say which process has something, where a file system has no locks. Only one process can make such a file.

It is removed at the end. That of a killed process stays:

- of this machine, process gone: taken over;
- of another machine, which we cannot ask: the user is told who it was, and which file to remove.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import socket
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from doremi.errors import DoremiError
from doremi.files import FORMAT, read_json, write_json


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

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        owner = cls.of(os.getpid())
        assert owner is not None, "Linux has /proc"
        return owner

    @property
    def ended(self) -> bool:
        """Whether it is certain that this process is gone; of another machine nothing is."""
        return self.machine == _machine() and Owner.of(self.process) != self


class Owned(Exception):
    """`path` is another process's, that of `owner`, or of one that the file does not name (yet)."""

    def __init__(self, path: Path, owner: Owner | None) -> None:
        super().__init__(str(path))
        self.path, self.owner = path, owner


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


# -- one file, one process --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def owned(path: Path) -> Iterator[None]:
    """Have `path` as ours; `Owned` where it is another's. It is there from the moment on that nobody else can make it.

    That of a process of this machine which has ended is taken over.
    """
    me = Owner.me()
    if not _made(path, me):
        _take_over(path, me)
    with _removed_at_the_end(path, me):
        yield


@contextlib.contextmanager
def announced(path: Path) -> Iterator[None]:
    """A file beside `path` that says that this process is there too, as any number may be."""
    me = Owner.me()
    host = re.sub(r"[^\w.-]", "_", me.host)
    names = (path.with_name(f"{path.name}.{host}-{me.process}-{number}.holder") for number in itertools.count(1))
    mine = next(name for name in names if _made(name, me))  # one process may be there twice
    with _removed_at_the_end(mine, me):
        yield


def others(path: Path) -> Iterator[tuple[Path, Owner | None]]:
    """Who has announced itself beside `path`, and where. Files of ended processes of this machine are removed."""
    for holder in sorted(path.parent.glob(f"{path.name}.*.holder")):
        owner = owner_of(holder)
        if owner is not None and owner.ended:
            holder.unlink(missing_ok=True)
        elif holder.exists():
            yield holder, owner


def owner_of(path: Path) -> Owner | None:
    """Who a file names; None if it is gone, or does not say (yet)."""
    try:
        value = read_json(path, "owner of a run directory")
        return Owner(value["host"], value["machine"], value["process"], value["started"])
    except DoremiError:
        return None


@contextlib.contextmanager
def _removed_at_the_end(path: Path, me: Owner) -> Iterator[None]:
    try:
        yield
    finally:
        if os.getpid() == me.process and owner_of(path) == me:  # a fork of this process has nothing to remove
            path.unlink(missing_ok=True)


def _made(path: Path, me: Owner) -> bool:
    """Whether `path` is now ours. It appears with what it says where there are hard links."""
    data = json.dumps({"format": FORMAT, **asdict(me)}).encode()
    while True:
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        draft.write_bytes(data)
        try:
            os.link(draft, path)
        except FileExistsError:
            return draft.exists() and draft.stat().st_nlink > 1  # NFS may do it, lose the answer, and find it done
        except FileNotFoundError:  # who prepares a corpus sweeps temporary files there
            continue
        except OSError:  # no hard links here
            return _made_in_two_steps(path, data)
        finally:
            draft.unlink(missing_ok=True)
        return True


def _made_in_two_steps(path: Path, data: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


def _take_over(path: Path, me: Owner) -> None:
    """Replace the file of a process of this machine that has ended; only one process at a time may try."""
    turn = path.with_name(f"{path.name}.turn")
    if not _made(turn, me):
        raise Owned(turn, owner_of(turn))
    try:
        other = owner_of(path)  # read now that nobody else takes it over
        if other is None and not path.exists():  # it ended in the meantime
            if not _made(path, me):
                raise Owned(path, owner_of(path))
            return
        if other is None or not other.ended:
            raise Owned(path, other)
        write_json(path, {"format": FORMAT, **asdict(me)})
    finally:
        turn.unlink(missing_ok=True)
