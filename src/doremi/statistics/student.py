"""Student's t with any degrees of freedom, whole or not, elementwise over arrays."""

from __future__ import annotations

import numpy as np
from scipy import special

_MOST = 1e6  # more degrees are the normal distribution to seven digits; the incomplete beta loses digits far beyond


def tail(t: np.ndarray, freedom: np.ndarray | float) -> np.ndarray:
    """P(|T| > t) for t >= 0, infinity allowed. Small tails keep their digits."""
    freedom = np.minimum(freedom, _MOST)
    with np.errstate(over="ignore"):  # the square of a huge t is infinite, and its tail 0
        share = freedom / (freedom + np.square(t))
    return special.betainc(freedom / 2, 0.5, share)


def quantile(probability: np.ndarray | float, freedom: np.ndarray | float) -> np.ndarray:
    """The t with P(|T| > t) = `probability`, for probabilities in (0, 1]."""
    freedom, probability = np.minimum(freedom, _MOST), np.asarray(probability, float)
    far = special.betaincinv(freedom / 2, 0.5, probability)
    near = special.betaincinv(0.5, freedom / 2, 1 - probability)  # each of the two is exact where it is small
    with np.errstate(divide="ignore"):
        return np.sqrt(np.where(far < 0.5, freedom * (1 / far - 1), freedom * near / (1 - near)))
