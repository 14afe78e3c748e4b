"""How much a difference between two candidates moves with the seed, from few seeds: moderated variances.

The variance of one pair has S - 1 degrees of freedom, and its t of two degrees decides nothing. All candidates
together have (C - 1)(S - 1), but noise differs between them: a found mixture can be noisier than plain ones, and a
pooled variance would then call noise a win. So each pair's variance is drawn towards the pooled one by as much as four
degrees are worth, and for a found mixture (a hub, which all its pairs share) never towards less than what its own pairs
show on average.

Shapes: any leading axes, C candidates, S seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PRIOR = 4.0  # degrees of freedom that the other candidates count for
ROUNDING = 1e-9  # relative: seeds that differ by less are alike, as no training differs from another by so little
SHARED = 0.65  # correlation of two differences from a hub with 1.36 times the noise of the rest


@dataclass(frozen=True, eq=False)
class SeedNoise:
    """`variance` `[..., C, C]`: of one seed's difference between two candidates; `freedom`: degrees of each.

    `residual` `[...]`: the mean square that is left when candidates and seeds are taken out, with `pooled_freedom`
    degrees. All NaN with one seed, with one candidate, and where all seeds are alike: no variance at all is not
    certainty but ignorance.
    """

    variance: np.ndarray
    freedom: float
    residual: np.ndarray
    pooled_freedom: int


def seed_noise(bits_CS: np.ndarray, hubs: np.ndarray) -> SeedNoise:
    """Noise of `[..., C, S]` means over domains. `hubs`: bool `[C]`, candidates that a search has found."""
    candidates, seeds = bits_CS.shape[-2:]
    if seeds < 2 or candidates < 2:
        unknown = np.full((*bits_CS.shape[:-2], candidates, candidates), np.nan)
        return SeedNoise(unknown, 1.0, unknown[..., 0, 0], 0)
    own = pair_variances(bits_CS)
    degrees = (candidates - 1) * (seeds - 1)
    residual = np.square(residuals(bits_CS)).sum(axis=(-2, -1)) / degrees
    residual = np.where(residual > np.square(ROUNDING * bits_CS.mean(axis=(-2, -1))), residual, np.nan)
    prior = np.broadcast_to(2 * residual[..., None, None], own.shape)
    of_hub = np.where(hubs, own.sum(axis=-1) / (candidates - 1), 0.0)
    prior = np.maximum(prior, np.maximum(of_hub[..., :, None], of_hub[..., None, :]))
    moderated = (PRIOR * prior + (seeds - 1) * own) / (PRIOR + seeds - 1)
    moderated = np.where(np.eye(candidates, dtype=bool), 0.0, moderated)
    return SeedNoise(moderated, freedom(candidates, seeds), residual, degrees)


def residuals(bits_CS: np.ndarray) -> np.ndarray:
    """What is left of `[..., C, S]` when the means of candidates and of seeds are taken out."""
    of_candidate = bits_CS - bits_CS.mean(axis=-1, keepdims=True)
    return of_candidate - of_candidate.mean(axis=-2, keepdims=True)


def pair_variances(bits_CS: np.ndarray) -> np.ndarray:
    """Variance over seeds of the difference of any two candidates, `[..., C, C]`."""
    centred = bits_CS - bits_CS.mean(axis=-1, keepdims=True)
    difference = centred[..., :, None, :] - centred[..., None, :, :]
    return np.square(difference).sum(axis=-1) / (bits_CS.shape[-1] - 1)


def freedom(candidates: int, seeds: int) -> float:
    """Degrees of a moderated variance, at most those that a noisy hub leaves.

    Without a hub it has two independent parts, a pair's own sum of squares and the rest. The pairs of a hub share its
    noise, so that their variances correlate by `SHARED` squared, and their mean is worth little more than one of them.
    """
    own, others = seeds - 1, candidates - 1
    pooled = own * others
    a = own * (PRIOR / pooled + 1) / (PRIOR + own)
    b = PRIOR * (pooled - own) / (pooled * (PRIOR + own))
    rest = b**2 / (pooled - own) if pooled > own else 0.0
    alike = (1 + (others - 1) * SHARED**2) / others
    lent, kept = PRIOR / (PRIOR + own), own / (PRIOR + own)
    of_hub = own / (lent**2 * alike + kept**2 + 2 * lent * kept * alike)
    return min(1 / (a**2 / own + rest), of_hub)
