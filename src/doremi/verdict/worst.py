"""The worst domain with intervals: how far two candidates' worst losses are apart, and what a domain loses at most.

Both are maxima over domains, so their intervals come from the domains' own, drawn so that all hold at once
(Bonferroni). Where d_k is the difference in domain k, p the domain that is truly worst for the first and q for the
second, the difference of the worst losses lies between d_q and d_p, because a_p >= a_q and b_q >= b_p. Which domains
those are is not known either: every domain whose level may be the highest counts, and half of the error goes there.
The largest d_k lies between the largest lower and the largest upper end.

Shapes: S seeds, K domains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from doremi.diagnostics import student
from doremi.files import ten_digits
from doremi.verdict.bootstrap import Sample
from doremi.verdict.compare import contrast, half_widths, outcome
from doremi.verdict.describe import ends
from doremi.verdict.values import WorstLoss, WorstRegret


def compare_worst(
    sample: Sample, pair: tuple[int, int], domains: Sequence[str], confidence: float, margin: float
) -> tuple[WorstLoss, WorstRegret]:
    """The difference of both worst losses, and the domain where the first does worst against the second.

    Bits per byte, means over seeds; intervals are null with one seed. A win: the first one's worst loss is lower.
    """
    count, error = len(domains), 1 - confidence
    family = contrast(sample, *pair, np.eye(count))
    one_K, other_K = (sample.bits[i].mean(axis=0) for i in pair)
    p, q, most = int(one_K.argmax()), int(other_K.argmax()), int(family.difference.argmax())
    difference = float(one_K[p] - other_K[q])
    half_K = half_widths(family, np.full(count, error / 2 / count))
    first_K, second_K = (_may_be_worst(sample, i, error / 4) for i in pair)
    low = float((family.difference - half_K)[second_K].min())
    high = float((family.difference + half_K)[first_K].max())
    middle, half = (low + high) / 2, (high - low) / 2
    half_K = half_widths(family, np.full(count, error / count))
    low_K, high_K = family.difference - half_K, family.difference + half_K
    loss = WorstLoss(
        domains=(domains[p], domains[q]),
        difference=ten_digits(difference),
        interval=ends(low, high),
        outcome=outcome(middle, half, abs(middle) > half, margin * float(other_K[q])),
    )
    regret = WorstRegret(
        domain=domains[most],
        difference=ten_digits(float(family.difference[most])),
        interval=ends(float(low_K.max()), float(high_K.max())),
    )
    return loss, regret


def _may_be_worst(sample: Sample, candidate: int, error: float) -> np.ndarray:
    """Which domains may have the highest level, bool `[K]`: all are right at once but for `error`."""
    bits_SK = sample.bits[candidate]
    seeds, count = bits_SK.shape
    level = np.full(count, error / count)
    mean_K = bits_SK.mean(axis=0)
    if seeds < 2:
        return np.ones(count, dtype=bool)
    of_seeds = student.quantile(level, np.full(count, seeds - 1)) ** 2 * bits_SK.var(axis=0, ddof=1) / seeds
    of_documents = student.quantile(level, sample.freedom) ** 2 * sample.level_variance
    half_K = np.sqrt(of_seeds + of_documents)
    return ~(mean_K + half_K < (mean_K - half_K).max())
