"""How soon a candidate is as good as the baseline in the end, with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reached:
    """Steps, of `of`; None where it is not reached, and for the ends of the interval where they are not."""

    step: float | None
    earliest: float | None
    latest: float | None
    of: int

    @property
    def speedup(self) -> float | None:
        return None if self.step is None else self.of / self.step


def reached(step_E: np.ndarray, level_E: np.ndarray, goal: float, half: float, of: int) -> Reached:
    """Where the mean curve gets to `goal` and stays, both in bits per byte of the target.

    `half` is half of the interval of the candidate's difference to the baseline. What that says of the level says by
    the curve's slope of the step: the interval's ends are where the curve gets to goal + half and to goal - half. NaN
    (one seed): neither end is known.
    """
    if not np.isfinite(half):
        return Reached(crossing(step_E, level_E, goal), None, None, of)
    ends = (crossing(step_E, level_E, goal + half), crossing(step_E, level_E, goal - half))
    return Reached(crossing(step_E, level_E, goal), *ends, of)


def crossing(step_E: np.ndarray, level_E: np.ndarray, goal: float) -> float | None:
    """First step from which the curve stays at or under `goal`, linear between evaluations; None if it does not.

    Reaching it and rising above it again does not count. A curve under the goal from its first evaluation on gets
    that evaluation's step, as nothing is known before it. Values that are not finite are above any goal.
    """
    above = np.flatnonzero(~(level_E <= goal))
    if not len(above):
        return float(step_E[0])
    if above[-1] == len(level_E) - 1:
        return None
    last, after = above[-1], above[-1] + 1
    drop = level_E[last] - level_E[after]
    part = (level_E[last] - goal) / drop if np.isfinite(drop) else 1.0
    return float(step_E[last] + part * (step_E[after] - step_E[last]))
