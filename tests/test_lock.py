"""One lock: who is kept out and told whom he meets, who may take over; with flock, and where a file system has none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from socket import gethostname

import pytest

from doremi.errors import Interrupted, RunError
from doremi.rundir import lock, owner
from doremi.rundir.lock import CORPUS, NO_FLOCK, Lock, Taken, in_turn, is_held
from doremi.rundir.locks import Locks
from no_flock import refuse_flock

OWNER, LOCK = "corpus.owner", "corpus.lock"
GONE = {"process": 2**22 + 1}  # no machine counts this far
AWAY = {"host": "node-7", "machine": "other", **GONE}


def quiet(message: str) -> None:
    pass


def lock_in(root: Path, say: lock.Say = quiet) -> Lock:
    return Lock(root, root / CORPUS, say)


@pytest.fixture(params=NO_FLOCK, ids=str)
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, request.param)


@pytest.fixture(params=[0, errno.ENOLCK], ids=["flock", "no flock"])
def any_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    if request.param:
        refuse_flock(monkeypatch, request.param)
    return request.param


def refused(taken: AbstractContextManager[None], who: str = f"process {os.getpid()}") -> str:
    with pytest.raises(Taken, match=who) as caught, taken:
        pass
    return str(caught.value)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def leave(root: Path, taken: AbstractContextManager[None], **changes: object) -> Path:
    """Leave the file of a process, this one but for the changes."""
    with taken:
        (path,) = (path for path in root.iterdir() if path.name != LOCK)
        value = json.loads(path.read_text())
    path.write_text(json.dumps(value | changes))
    return path


# -- alone and together -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("any_system")
def test_one_alone_or_several_together(tmp_path: Path) -> None:
    one, other = lock_in(tmp_path), lock_in(tmp_path)
    with one.alone():
        refused(other.alone())
        refused(other.together())
        assert is_held(one.path)
    with one.together():
        with other.together():
            refused(one.alone())
        refused(other.alone())
        assert not is_held(one.path)
    with other.alone():
        pass
    assert names(tmp_path) == [LOCK]


@pytest.mark.usefixtures("any_system")
def test_what_fails_while_it_is_held_frees_it(tmp_path: Path) -> None:
    for kind in (lock_in(tmp_path).alone, lock_in(tmp_path).together):
        with pytest.raises(ZeroDivisionError), kind():
            raise ZeroDivisionError
        with lock_in(tmp_path).alone():
            pass
    assert names(tmp_path) == [LOCK]


HOLD = """
import sys, time
from pathlib import Path
from doremi.rundir.lock import Lock
root = Path(sys.argv[1])
with getattr(Lock(root, root / "corpus", print), sys.argv[2])():
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held_elsewhere(root: Path, kind: str) -> Iterator[int]:
    """By another process, whose number it is; killed at the end."""
    command = [sys.executable, "-c", HOLD, str(root), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("kind", ["alone", "together"])
def test_a_killed_process_holds_nothing(kind: str, tmp_path: Path) -> None:
    with held_elsewhere(tmp_path, kind) as process:
        refused(lock_in(tmp_path).alone(), f"process {process} is working")
    with lock_in(tmp_path).alone():
        pass


def test_of_several_one_who_is_still_there_is_named(tmp_path: Path) -> None:
    with lock_in(tmp_path).together():
        with held_elsewhere(tmp_path, "together"):
            pass
        assert len((tmp_path / LOCK).read_text().splitlines()) == 2
        refused(lock_in(tmp_path).alone())


def test_who_is_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    with lock_in(tmp_path).alone():
        (tmp_path / LOCK).write_text("17 node-7\n")
        refused(lock_in(tmp_path).alone(), "process 17 on node-7 is working")
        (tmp_path / LOCK).write_text("")  # not written yet, or a full disk
        refused(lock_in(tmp_path).alone(), "another process is working")


def test_a_fork_does_not_keep_what_its_parent_has_left(tmp_path: Path) -> None:
    taken = contextlib.ExitStack()
    taken.enter_context(lock_in(tmp_path).alone())
    ends, waits = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ends, 1)
        os._exit(0)
    os.close(next(iter(lock._held)).fileno())  # as if this process were killed: closed, not unlocked
    try:
        with lock_in(tmp_path).alone():
            pass
    finally:
        os.write(waits, b"x")
        os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            taken.close()


def test_smb_says_otherwise_that_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.EACCES)
    refused(lock_in(tmp_path).alone(), "another process")
    assert names(tmp_path) == [LOCK]


def test_other_errors_are_not_taken_for_a_missing_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"), lock_in(tmp_path).alone():
        pass


def test_a_look_of_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lock_in(tmp_path).alone():
        pass
    tried: list[int] = []

    def flock(file: object, how: int) -> None:
        tried.append(how)
        if len(tried) < lock.TRIES:
            raise BlockingIOError(errno.EAGAIN, "held")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_in(tmp_path).alone():
        assert len(tried) == lock.TRIES


def test_a_folder_that_goes_away_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doremi clean` removes a corpus with its lock: who has opened that would hold a file that nobody else sees."""
    real, left = fcntl.flock, [1]

    def flock(file: object, how: int) -> None:
        real(file, how)  # type: ignore[arg-type]
        if left:
            left.pop()
            (tmp_path / LOCK).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with in_turn(tmp_path, quiet, lambda: False):
        assert (tmp_path / LOCK).exists()


# -- taking turns -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("any_system")
def test_who_waits_says_for_whom_once_and_can_be_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    asked = iter([False] * 7)
    told, waits = "stopped while another process prepared", in_turn(tmp_path, said.append, lambda: next(asked, True))
    with lock_in(tmp_path).alone(), pytest.raises(Interrupted, match=told), waits:
        pass
    assert len(said) == 1
    assert f"process {os.getpid()}" in said[0]
    assert "is preparing this corpus. Waiting for it" in said[0]


@pytest.mark.usefixtures("any_system")
def test_who_waits_comes_in_when_it_is_free(tmp_path: Path) -> None:
    waits, been = threading.Event(), list[str]()

    def second() -> None:
        with in_turn(tmp_path, lambda _: waits.set(), lambda: False):
            been.append("second")

    with lock_in(tmp_path).alone():
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        been.append("first")
    thread.join(30)
    assert been == ["first", "second"]


# -- without flock ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_flock")
def test_it_is_said_once_and_a_second_worker_is_kept_out(tmp_path: Path) -> None:
    said: list[str] = []
    with lock_in(tmp_path, said.append).alone():
        assert len(said) == 1
        assert "this file system has no locks (flock); files keep other processes out instead" in said[0]
        told = refused(lock_in(tmp_path, said.append).alone(), f"process {os.getpid()} on {gethostname()} is working")
        assert told.endswith(f"remove {tmp_path / OWNER}")
    with lock_in(tmp_path, said.append).together():
        told = refused(lock_in(tmp_path, said.append).alone())
        assert told.endswith("-1.holder")
        assert str(os.getpid()) in told.rpartition("/")[2]
    assert names(tmp_path) == [LOCK]
    assert len(said) == 1


@pytest.mark.usefixtures("no_flock")
def test_a_worker_leaves_it_to_its_command_to_say_so(tmp_path: Path) -> None:
    said: list[str] = []
    with Locks(tmp_path, said.append, joined=True).shared():
        assert said == []


def test_a_process_of_this_machine_that_is_gone_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.ENOSYS)
    for gone in (GONE, {"started": "1"}):  # no such process; its number has been used again
        for left in (lock_in(tmp_path).alone, lock_in(tmp_path).together):
            leave(tmp_path, left(), **gone)
            assert not is_held(tmp_path / CORPUS)
            with lock_in(tmp_path).together():
                pass
            with lock_in(tmp_path).alone():
                pass
            assert names(tmp_path) == [LOCK]


@pytest.mark.parametrize("kind", ["alone", "together"])
@pytest.mark.parametrize(
    ("left", "who"),
    [(AWAY, "process 4194305 on node-7"), ({"format": None}, "another process")],  # the second: cut off
)
def test_what_cannot_be_asked_is_told_with_what_to_do(
    left: dict[str, object], who: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_flock(monkeypatch, errno.ENOLCK)
    path = leave(tmp_path, getattr(lock_in(tmp_path), kind)(), **left)
    before = path.read_bytes()
    told = f"{who} is working in .*if it is gone, .*remove {path}$"
    refused(lock_in(tmp_path).alone(), told)
    assert not (tmp_path / f"{OWNER}.turn").exists()
    monkeypatch.undo()  # a machine that has flock meets the file of one that has not
    refused(lock_in(tmp_path).alone(), told)
    if kind == "alone":
        refused(lock_in(tmp_path).together(), told)
    else:
        with lock_in(tmp_path).together():  # there may be any number
            pass
    assert path.read_bytes() == before
    path.unlink()
    with lock_in(tmp_path).alone():
        pass


def test_without_hard_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    refuse_flock(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr(os, "link", link)
    with lock_in(tmp_path).alone():
        refused(lock_in(tmp_path).alone(), f"process {os.getpid()} on")
    leave(tmp_path, lock_in(tmp_path).alone(), **GONE)
    with lock_in(tmp_path).alone():
        pass
    assert names(tmp_path) == [LOCK]


def test_who_sweeps_temporary_files_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.link, [1]

    def link(source: Path, target: Path) -> None:
        if left:
            left.pop()
            source.unlink()
        real(source, target)

    refuse_flock(monkeypatch, errno.ENOSYS)
    monkeypatch.setattr(os, "link", link)
    with lock_in(tmp_path).alone():
        assert names(tmp_path) == [LOCK, OWNER]


def test_of_many_that_take_over_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.ENOSYS)
    start, end = threading.Barrier(4, timeout=30), threading.Barrier(4, timeout=30)
    real = owner.owner_of

    def slow(path: Path) -> owner.Owner | None:
        found = real(path)
        time.sleep(0.005)  # so that all who may have read before anyone writes
        return found

    monkeypatch.setattr(owner, "owner_of", slow)

    def compete(_: int) -> bool:
        start.wait()
        try:
            with lock_in(tmp_path).alone():
                end.wait()
                return True
        except RunError:
            end.wait()
            return False

    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            leave(tmp_path, lock_in(tmp_path).alone(), **GONE)
            assert sum(pool.map(compete, range(4))) == 1
