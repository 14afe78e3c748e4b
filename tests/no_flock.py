"""A file system without locks."""

from __future__ import annotations

import fcntl
import os

import pytest

from doremi.rundir import lock


def refuse_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Answer flock with this error from now on; it was not told before."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(lock, "_told", set())
