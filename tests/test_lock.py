"""One worker a run directory where the file system has no flock: who is kept out, and who may take over."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from doremi.errors import RunError
from doremi.rundir.lock import NO_FLOCK, OWNER, only_worker


@pytest.fixture(params=NO_FLOCK, ids=lambda number: errno.errorcode[number])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, request.param)


def refuse_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def hold(root: Path) -> list[str]:
    """Work there for a moment; what was said."""
    said: list[str] = []
    with only_worker(root, said.append):
        pass
    return said


def owner(root: Path, **changes: object) -> None:
    """Leave the file of a process, this one but for the changes."""
    with only_worker(root, print):
        value = json.loads((root / OWNER).read_text())
    (root / OWNER).write_text(json.dumps(value | changes))


@pytest.mark.usefixtures("no_flock")
def test_it_is_said_and_a_second_worker_is_kept_out(tmp_path: Path) -> None:
    said: list[str] = []
    with only_worker(tmp_path, said.append):
        assert len(said) == 1
        assert "this file system has no locks (flock); run.owner keeps other processes out instead" in said[0]
        with pytest.raises(RunError, match=rf"process {os.getpid()} on .* is working .*remove .*run\.owner$"):
            hold(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.lock"]
    assert len(hold(tmp_path)) == 1


def test_a_process_of_this_machine_that_is_gone_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.ENOSYS)
    for gone in ({"process": 2**22 + 1}, {"started": "1"}):  # no such process; its number has been used again
        owner(tmp_path, **gone)
        hold(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["run.lock"]


@pytest.mark.parametrize(
    ("left", "who"),
    [
        ({"host": "node-7", "machine": "other", "process": 2**22 + 1}, "process 4194305 on node-7"),
        ({"format": None}, "another process"),  # cut off, or not written to yet
    ],
)
def test_what_cannot_be_asked_is_told_with_what_to_do(
    left: dict[str, object], who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_flock(monkeypatch, errno.ENOLCK)
    owner(tmp_path, **left)
    before = (tmp_path / OWNER).read_bytes()
    with pytest.raises(RunError, match=rf"{who} is working in .*if it is gone, .*remove {tmp_path / OWNER}"):
        hold(tmp_path)
    assert (tmp_path / OWNER).read_bytes() == before
    assert not (tmp_path / "run.owner.turn").exists()
    monkeypatch.undo()  # a machine that has flock meets the file of one that has not
    with pytest.raises(RunError, match=who):
        hold(tmp_path)
    (tmp_path / OWNER).unlink()
    assert hold(tmp_path) == []


def test_other_errors_are_not_taken_for_a_missing_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        hold(tmp_path)


def test_of_many_that_take_over_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_flock(monkeypatch, errno.ENOSYS)
    start, end = threading.Barrier(4, timeout=30), threading.Barrier(4, timeout=30)

    def compete(_: int) -> bool:
        start.wait()
        try:
            with only_worker(tmp_path, lambda _: None):
                end.wait()
                return True
        except RunError:
            end.wait()
            return False

    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            owner(tmp_path, process=2**22 + 1)
            assert sum(pool.map(compete, range(4))) == 1
