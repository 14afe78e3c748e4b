"""Standard output and error whose readers are gone, or whose disk is full: no command ends for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from make_run import make_run

PROGRAM = """
import sys
from doremi.cli.streams import lasting_streams
with lasting_streams():
    for _ in range(2000):
        print(80 * "x")
        print(80 * "y", file=sys.stderr)
    sys.stderr.buffer.write(b"z")
    open(sys.argv[1], "w").write("done")
"""
FULL = Path("/dev/full")


def gone() -> int:
    """The end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full() -> int:
    return os.open(FULL, os.O_WRONLY)


def impatient() -> int:
    """A pipe that is full and does not make its writers wait."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_inheritable(reading, True)
    return writing


def work(tmp_path: Path, stdout: int, stderr: int, before: Callable[[], object] | None = None) -> int:
    """Exit code of the program; it must have reached its end."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "end")]
    result = subprocess.run(command, stdout=stdout, stderr=stderr, preexec_fn=before, check=False, timeout=60)
    assert (tmp_path / "end").read_text() == "done"
    return result.returncode


@pytest.mark.parametrize("lost", [gone, full, impatient])
def test_nobody_reads(lost: Callable[[], int], tmp_path: Path) -> None:
    descriptor = lost()
    assert work(tmp_path, descriptor, descriptor) == 0
    os.close(descriptor)


def test_closed_streams_are_not_given_to_the_next_file(tmp_path: Path) -> None:
    """Without standard error the next file that is opened would be descriptor 2."""
    assert work(tmp_path, subprocess.DEVNULL, subprocess.DEVNULL, lambda: (os.close(1), os.close(2))) == 0
    assert (tmp_path / "end").read_text() == "done"


def test_tables_for_a_reader_that_has_enough(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    command = [sys.executable, "-m", "doremi", "export", str(run), "--to", "json"]
    descriptor = gone()
    result = subprocess.run(command, stdout=descriptor, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(descriptor)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_full_disk_under_a_table_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    command = [sys.executable, "-m", "doremi", "export", str(run), "--to", "json"]
    with FULL.open("wb") as file:
        result = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert result.returncode == 0
    assert result.stderr == "warning: what this command prints could not be written: No space left on device\n"
