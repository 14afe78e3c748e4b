"""How many held-out documents are enough: what they add to the noise is at most a quarter of what seeds do.

Judged from the first two seeds of the first two candidates. Two seeds show noise badly, and by luck none at all. So the
mean over domains is taken to vary at least as much as it would if each domain varied by itself. An error costs an
evaluation on more documents than needed, and no training.

Shapes: K domains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from doremi.statistics.compared import compare
from doremi.statistics.seed_noise import pair_variances
from doremi.statistics.table import TARGETS, Measurements, Target

SHARE = 0.25  # of the seeds' variance
_HALVINGS = 60


@dataclass(frozen=True)
class Noise:
    """Of the difference between two candidates on one average, in bits per byte squared: `documents_K` is `[K]`."""

    seeds: float
    documents_K: np.ndarray


def noise_of(table: Measurements, target: Target, seeds: int) -> Noise:
    """Of the first two candidates of `table`, when each has `seeds` seeds."""
    two = table.only((0, 1), table.seeds)
    bits_CSK, documents, weights_K = two.bits(), two.documents(), two.weights_of(target)
    compared = compare(bits_CSK, documents, weights_K, np.zeros(2, bool))
    alone = sum(w**2 * pair_variances(bits_CSK[..., k])[0, 1] for k, w in enumerate(weights_K))
    seen = float(compared.parts.seeds[0, 1]) if compared.known else 0.0
    one_seed = max(seen * len(two.seeds), float(alone))
    return Noise(one_seed / seeds, np.square(weights_K * documents.levels) * documents.variance[0, 1])


def enough(table: Measurements, pool_K: Sequence[int], seeds: int) -> tuple[int, ...]:
    """Documents of each domain that are enough on either average, `[K]`: those of `table` at least, `pool_K` at most.

    `seeds`: how many each candidate is to have. Those of `table` where no noise is seen, for trainings that are alike.
    """
    used_K = np.array([len(one.bytes_D) for one in table.domains])
    times = max(_times(noise_of(table, target, seeds), used_K, np.array(pool_K)) for target in TARGETS)
    return tuple(int(n) for n in _part(times, used_K, np.array(pool_K)))


def _part(times: float, used_K: np.ndarray, pool_K: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(pool_K, used_K), np.ceil(used_K * times))


def _times(noise: Noise, used_K: np.ndarray, pool_K: np.ndarray) -> float:
    """The least multiple of the documents in use that is enough; of the largest share of a pool, where none is."""
    most = float(np.max(pool_K / used_K))
    if most <= 1 or noise.seeds == 0:
        return 1.0

    def is_enough(times: float) -> bool:
        left_K = noise.documents_K * used_K / _part(times, used_K, pool_K)
        return float(left_K.sum()) <= SHARE * noise.seeds

    low, high = 1.0, most
    if is_enough(low):
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def share(seeds: float, documents: float) -> float | None:
    """The documents' variance as a share of the seeds'; None where either is not known."""
    known = math.isfinite(seeds) and math.isfinite(documents) and seeds > 0
    return documents / seeds if known else None
