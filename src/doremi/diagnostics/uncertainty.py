"""How sure the weights are: their interval over proxies, how far proxies are apart, and whether each has settled.

A weight's interval is that of the *method*: each proxy has its own reference, initialisation and order of the data, and
their mean is what DoReMi returns. It says nothing of whether the mixture is good; that is the verdict's part.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np

from doremi.diagnostics import settled, student
from doremi.files import ten_digits
from doremi.mixture.domains import DomainSet, Mixture
from doremi.mixture.record import Distance, Settled, Uncertainty

CONFIDENCE = 0.95  # of the intervals of weights; rounds stop by them, so it is no setting of the verdict


def uncertainty(per_seed: Mapping[int, Mixture], domains: DomainSet, confidence: float) -> Uncertainty:
    """What mixture.json says of it: Student's t interval of each mean weight, and distances between proxies.

    Intervals are cut off at 0 and 1, hold for each weight by itself, and are null with one proxy. Distances are half
    the sum of absolute differences: the share of the tokens that two mixtures would take from different domains.
    """
    weights_SK = np.array([mixture.aligned(domains) for mixture in per_seed.values()])
    apart = [float(np.abs(a - b).sum() / 2) for a, b in itertools.combinations(weights_SK, 2)]
    return Uncertainty(
        confidence=confidence,
        interval=_intervals(weights_SK, domains, confidence) if len(weights_SK) > 1 else None,
        distance=Distance(mean=ten_digits(float(np.mean(apart))), largest=ten_digits(max(apart))) if apart else None,
    )


def _intervals(
    weights_SK: np.ndarray, domains: DomainSet, confidence: float
) -> dict[str, tuple[float | None, float | None]]:
    seeds = len(weights_SK)
    t = float(student.quantile(np.array(1 - confidence), np.array(seeds - 1)))
    mean_K, half_K = weights_SK.mean(axis=0), t * weights_SK.std(axis=0, ddof=1) / math.sqrt(seeds)
    low_K, high_K = np.maximum(mean_K - half_K, 0), np.minimum(mean_K + half_K, 1)
    return {
        name: (ten_digits(float(a)), ten_digits(float(b))) for name, a, b in zip(domains, low_K, high_K, strict=True)
    }


def whether_settled(alpha_TK: np.ndarray, *, steps: int, learning_rate: float) -> Settled:
    """Whether one proxy's averaged weights have settled, and why.

    `learning_rate`: the share of its peak that is left at the last of `steps`.
    """
    judged = settled.judge(alpha_TK)
    return Settled(
        settled=judged.settled,
        reason=judged.reason,
        change=ten_digits(judged.change),
        steps=steps,
        learning_rate=ten_digits(learning_rate),
    )
