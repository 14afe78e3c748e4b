"""Dunnett's multiplier: so many standard errors on each side, and all comparisons with one candidate hold at once.

m differences from one candidate share its noise, so that any two of them correlate by a half. Given that candidate's
deviation z and the estimated standard deviation s they are independent, which leaves two integrals.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, special

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(48)  # over z
_PLACES, _SHARES = np.polynomial.legendre.leggauss(160)  # over the distribution function of s
_LARGEST = 1e6


@lru_cache(maxsize=256)
def multiplier(comparisons: int, freedom: float, error: float, *, one_sided: bool = False) -> float:
    """The c at which all of `comparisons` deviations stay within c standard errors but for a chance of `error`.

    `freedom`: degrees of the standard error, whole or not. `one_sided`: only deviations to one side count.
    """
    scale = np.sqrt(special.gammaincinv(freedom / 2, (_PLACES + 1) / 2) * 2 / freedom)

    def missed(log_c: float) -> float:
        return 1 - _all_within(np.exp(log_c) * scale, comparisons, one_sided) - error

    found = optimize.root_scalar(missed, bracket=(-5.0, math.log(_LARGEST)), xtol=1e-7)
    return math.exp(found.root)


def _all_within(limit: np.ndarray, comparisons: int, one_sided: bool) -> float:
    """P(all of them within c s), `limit` being c s at the places of s."""
    limit, shift = limit[:, None] * np.sqrt(2), _NODES[None, :]
    inside = special.ndtr(limit + shift) - (0.0 if one_sided else special.ndtr(shift - limit))
    over_z = inside**comparisons @ _WEIGHTS / np.sqrt(2 * np.pi)
    return float(over_z @ _SHARES / 2)
