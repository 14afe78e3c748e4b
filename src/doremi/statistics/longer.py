"""What training twice as long would do to the noise: what the second half of these trainings did, once more.

The noise half way is about that of trainings of half the length (docs/results/recipe.md), so that the second half shows
what a doubling does. How well a few seeds show it is told by the law of their mean squares.

Shapes: C candidates, S seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from doremi.statistics.seed_noise import residuals
from doremi.statistics.table import Measurements, Target

FEWEST = 4  # degrees of freedom: with fewer, the second half may have done anything


@dataclass(frozen=True)
class Trend:
    """`ratio`: the residual variance at the end as a part of that half way. `freedom`: degrees of each of them."""

    ratio: float
    freedom: int

    def spread(self, known: float) -> float:
        """SD of the logarithm of a variance of `known` degrees times the ratio.

        Both hold the variance at the end, and count as if they erred by the same. That of half way counts as if it were
        of other trainings, which is too much.
        """
        end, half = special.polygamma(1, known / 2), special.polygamma(1, self.freedom / 2)
        return math.sqrt((math.sqrt(end) + math.sqrt(half)) ** 2 + half)


def trend(table: Measurements, target: Target) -> Trend | None:
    """From the relative differences of a table in which no two candidates share trainings.

    None where half way was not evaluated, or too little is known.
    """
    if table.half_CSK is None:
        return None
    weights_K, freedom = table.weights_of(target), (len(table.entrants) - 1) * (len(table.seeds) - 1)
    if freedom < FEWEST:
        return None
    half, end = (_variance(np.log(bits_CSK @ weights_K), freedom) for bits_CSK in (table.half_CSK, table.bits()))
    return Trend(end / half, freedom) if half > 0 and end > 0 else None


def _variance(logs_CS: np.ndarray, freedom: int) -> float:
    return float(np.square(residuals(logs_CS)).sum() / freedom)
