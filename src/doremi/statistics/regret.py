"""What choosing a candidate costs against the best: expected, and at most.

The expectation takes true means as drawn from a normal distribution whose spread is `SPREAD`, and noise as known as
well as the seeds show it. It never promised too little in simulation (docs/results/verdict.md). A chance of being the
best is not given: it said 94 % where 61 % was right.

Shapes: any leading axes, C candidates, U places of the noise, X places of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from doremi.statistics.compared import Compared
from doremi.statistics.dunnett import multiplier

SPREAD = 0.01  # relative standard deviation of true means: mixtures worth comparing differ by about one per cent
_PLACES, _SHARES = np.polynomial.legendre.leggauss(16)
_GRID = np.linspace(-9, 9, 181)


@dataclass(frozen=True, eq=False)
class Noise:
    """Relative: mean square of a seed's residual with its degrees, and the documents' variance of one candidate."""

    residual: np.ndarray
    freedom: int
    seeds: int
    documents: np.ndarray


def noise_of(compared: Compared) -> Noise:
    """The noise of a candidate's mean, relative to the candidates' mean level."""
    level = np.square(compared.means.mean(axis=-1))
    documents = np.nan_to_num(compared.parts.documents)
    pairs = documents.shape[-1] * (documents.shape[-1] - 1)
    return Noise(
        residual=compared.noise.residual / level,
        freedom=compared.noise.pooled_freedom,
        seeds=compared.seeds,
        documents=documents.sum(axis=(-2, -1)) / pairs / 2 / level,
    )


def expected_regret(compared: Compared, among: np.ndarray) -> np.ndarray:
    """By how much each candidate is expected to be worse than the best one, relative, `[..., C]`.

    `among`: bool, which candidates may be chosen; C are those. Noise is that of all.
    """
    noise, means = noise_of(compared), compared.means[..., among]
    relative = means / means.mean(axis=-1, keepdims=True) - 1
    chi2_U = 2 * special.gammaincinv(noise.freedom / 2, (_PLACES + 1) / 2)
    of_seeds = noise.residual[..., None] * noise.freedom / chi2_U / noise.seeds
    variance = of_seeds + noise.documents[..., None]
    kept = SPREAD**2 / (SPREAD**2 + variance)
    mean_UC = kept[..., None] * relative[..., None, :]
    least_U = _mean_of_least(mean_UC, np.sqrt(kept * variance))
    regret_UC = np.maximum(0.0, mean_UC - least_U[..., None])  # of the best by far it is 0 to the last digit
    return np.einsum("...uc,u->...c", regret_UC, _SHARES / 2)


def largest_regret(compared: Compared, among: np.ndarray, error: float) -> np.ndarray:
    """By how much each candidate is worse than the best one at most, in bits per byte, `[..., C]`.

    All hold at once but for a chance of `error`: whoever is the best, only the comparisons with it count (Hsu 1981,
    Simultaneous confidence intervals for all distances from the "best").
    """
    count = int(among.sum())
    c = multiplier(count - 1, float(compared.parts.seed_freedom), error, one_sided=True)
    upper = (compared.difference + compared.parts.half_at(c))[..., among, :][..., among]
    return np.maximum(0.0, np.where(np.eye(count, dtype=bool), 0.0, upper).max(axis=-1))


def _mean_of_least(mean_UC: np.ndarray, sd_U: np.ndarray) -> np.ndarray:
    """The mean of the least of independent normal deviates, `[..., U]`; `E[x] = top - integral of P(least <= x)`."""
    low = mean_UC.min(axis=-1)
    x_UX = low[..., None] + sd_U[..., None] * _GRID
    above = np.ones_like(x_UX)
    for c in range(mean_UC.shape[-1]):
        above *= special.ndtr((mean_UC[..., c, None] - x_UX) / np.maximum(sd_U, 1e-30)[..., None])
    return x_UX[..., -1] - np.trapezoid(1 - above, dx=_GRID[1] - _GRID[0], axis=-1) * sd_U
