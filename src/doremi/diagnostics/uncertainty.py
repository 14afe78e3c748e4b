"""How sure the weights are: their interval over proxies, how far proxies are apart, and whether each has settled.

A weight's interval is that of the *method*: each proxy has its own reference, initialisation and order of the data, and
their mean is what DoReMi returns. It says nothing of whether the mixture is good; that is the verdict's part.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from doremi.diagnostics import settled
from doremi.files import ten_digits
from doremi.mixture.domains import DomainSet, Mixture
from doremi.mixture.record import Distance, Settled, Uncertainty
from doremi.statistics import student

CONFIDENCE = 0.95  # of the intervals of weights; rounds stop by them, so it is no setting of the verdict
PRIOR = 8.0  # degrees of freedom that the other domains count for, at most
SHARE = 0.25  # of the distance between proxies: a mean known so well adds a sixteenth to what they differ anyway


def uncertainty(per_seed: Mapping[int, Mixture], domains: DomainSet, confidence: float) -> Uncertainty:
    """What mixture.json says of it: an interval of each mean weight, and distances between proxies.

    Weights move by factors, so that an interval is that of a logarithm's mean. With two proxies each logarithm has one
    degree of freedom, and a t of 12.7. Its variance is therefore drawn towards the mean over domains. Intervals end at
    1, hold for each weight by itself, and are null with one proxy. Distances are half the sum of absolute differences:
    the share of the tokens that two mixtures would take from different domains.
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
    seeds, domain_count = weights_SK.shape
    mean_K, own = weights_SK.mean(axis=0), seeds - 1
    log_SK = np.log(np.maximum(weights_SK, settled.FLOOR))
    variance_K = log_SK.var(axis=0, ddof=1)
    # weights sum to one, so that K of them are worth K - 1; the others can lend no more than they have
    prior = min(PRIOR, own * max(0, domain_count - 2))
    variance_K = (prior * variance_K.mean() + own * variance_K) / (prior + own)
    half_K = float(student.quantile(1 - confidence, prior + own)) * np.sqrt(variance_K / seeds)
    low_K, high_K = mean_K * np.exp(-half_K), np.minimum(mean_K * np.exp(half_K), 1)
    return {
        name: (ten_digits(float(a)), ten_digits(float(b))) for name, a, b in zip(domains, low_K, high_K, strict=True)
    }


def spread(per_seed: Mapping[int, Mixture], domains: DomainSet) -> float | None:
    """Mean L1 distance between the mixtures of two proxies; None with one."""
    found = uncertainty(per_seed, domains, CONFIDENCE).distance
    return None if found is None or found.mean is None else 2 * found.mean


def whether_settled(alpha_TK: np.ndarray, *, steps: int, learning_rate: float, apart: float | None = None) -> Settled:
    """Whether one proxy's averaged weights have settled, and why.

    `learning_rate`: the share of its peak that is left at the last of `steps`. `apart`: the `spread` between proxies.
    A mean need not be known much better than proxies agree, as more steps would not make them agree.
    """
    judged = settled.judge(alpha_TK, max(settled.TOLERANCE, SHARE * (apart or 0.0)))
    return Settled(
        settled=judged.settled,
        reason=judged.reason,
        change=ten_digits(judged.change),
        steps=steps,
        learning_rate=ten_digits(learning_rate),
    )
