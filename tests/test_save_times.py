"""Checkpoints after so many steps, or by the clock of the main process."""

from __future__ import annotations

import pytest
import torch

from doremi.distributed import World
from doremi.training import save_times
from doremi.training.save_times import SaveTimes, expected


def test_by_the_clock_every_ten_minutes_since_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(save_times.time, "monotonic", lambda: now[0])
    times, saved = SaveTimes("auto"), []
    for step in range(1, 31):
        now[0] += 61  # a step
        if times.due(step):
            saved.append(step)
            times.saved()
    assert saved == [10, 20, 30]
    assert expected("auto", 30, 30 * 61) == 1 + len(saved)  # and one at the end, if the last is not that one


def test_by_steps_the_clock_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    times = SaveTimes(7)
    monkeypatch.setattr(save_times, "SECONDS", 0.0)
    assert [step for step in range(1, 23) if times.due(step)] == [7, 14, 21]
    assert expected(7, 22, 1e9) == 4


def test_flags_are_told_apart() -> None:
    assert World(0, 1, torch.device("cpu")).any_of(True, False) == [True, False]
