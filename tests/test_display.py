"""Signals: which ones ask to stop, which one stops at once, and which are left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from doremi.cli import signals
from doremi.cli.display import Display
from doremi.cli.signals import STOP


@pytest.fixture(autouse=True)
def handlers_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOP}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP)
def test_each_asks_to_stop(number: int) -> None:
    before = signal.getsignal(number)
    with Display() as shown:
        assert not shown.stop_requested()
        os.kill(os.getpid(), number)
        assert shown.stop_requested()
        assert shown.signal == number
    assert signal.getsignal(number) == before


def test_a_hangup_comes_twice_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the kernel and from the shell; a scheduler's warning may come every second."""
    monkeypatch.setattr(signals, "ONE_PRESS_SECONDS", -1.0)
    with Display() as shown:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU):
            os.kill(os.getpid(), number)
        assert shown.signal == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_one_press_counts_once() -> None:
    """`torchrun` passes Ctrl-C on to processes that the terminal has told already."""
    with Display() as shown:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert shown.signal == signal.SIGINT


@pytest.mark.parametrize("torchrun", [False, True])
def test_what_is_ignored_stays_ignored(torchrun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`nohup doremi run my.yaml &`: the terminal may close. `torchrun` passes it on, then kills."""
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Display() as shown:
        os.kill(os.getpid(), signal.SIGHUP)
        assert shown.stop_requested() == torchrun
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_processes_whose_torchrun_is_gone_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies of signals that it does not pass on."""
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    alone = Display()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    started = Display()
    assert not started.stop_requested()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert started.stop_requested()
    assert not alone.stop_requested()
