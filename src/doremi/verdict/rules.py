"""By which rules a run is judged: the configuration's, and the looks that were taken before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from doremi.errors import ConfigError
from doremi.statistics.looks import Looks, Record
from doremi.statistics.table import Target


@dataclass(frozen=True)
class Rules:
    """`margin` is relative to the opponent's bits per byte; `target` is the average that the choice is made on.

    `looks` is the plan, and `record` the looks so far at one size.
    """

    margin: float = 0.005
    confidence: float = 0.95
    target: Target = "uniform"
    looks: Looks = "once"
    record: Record | None = None

    @property
    def level(self) -> float:
        return round(1 - self.confidence, 10)  # 1 - 0.95 is 0.05 and not 0.050000000000000044

    def check(self) -> None:
        """`ConfigError` for what cannot be."""
        if not 0 < self.confidence < 1:
            raise ConfigError(
                f"verdict.confidence is {self.confidence!r}; it must lie between 0 and 1, for example 0.95"
            )
        if not 0 <= self.margin < math.inf:
            raise ConfigError(f"verdict.margin is {self.margin!r}; it must be 0 or more, for example 0.005")
        if self.target not in get_args(Target):
            raise ConfigError(f"verdict.target is {self.target!r}; it must be one of {', '.join(get_args(Target))}")
