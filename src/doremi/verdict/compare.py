"""Differences between candidates: intervals, Holm's correction, the four outcomes, and the seeds it would take.

Shapes: S seeds, K domains, T weightings of the domains, N comparisons of one family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Final

import numpy as np

from doremi.diagnostics import student
from doremi.verdict.bootstrap import Sample
from doremi.verdict.values import Outcome

WIN: Final = "win"
LOSS: Final = "loss"
TIE: Final = "tie"
UNDECIDED: Final = "undecided"
FLIPPED: dict[Outcome, Outcome] = {WIN: LOSS, LOSS: WIN, TIE: TIE, UNDECIDED: UNDECIDED}
POWER = 0.8  # the chance with which the promised number of seeds decides
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Contrasts:
    """Differences a - b in bits per byte, `[N]` each, with what their uncertainty is made of.

    `between_seeds` is the variance of one seed's difference, `documents` the variance that resampling documents
    gives their mean, `documents_one_seed` the same for one seed alone, `freedom` the degrees of `documents`.
    """

    difference: np.ndarray
    opponent: np.ndarray
    between_seeds: np.ndarray
    documents: np.ndarray
    documents_one_seed: np.ndarray
    freedom: np.ndarray
    seeds: int


@dataclass(frozen=True)
class Result:
    """One comparison, from its candidate's side. `half` (of the interval), `p_value`, `p_adjusted` are NaN if unknown.

    `level` is the error level that Holm's rule left to this comparison; the interval is drawn at it, so that it
    excludes 0 exactly where `p_adjusted` is at or under 1 - confidence.
    """

    difference: float
    opponent: float
    half: float
    p_value: float
    p_adjusted: float
    level: float
    outcome: Outcome


def contrast(sample: Sample, a: int, b: int, weights_TK: np.ndarray) -> Contrasts:
    """Candidates `a` and `b` of `sample` compared on each of T weighted means of the domains."""
    per_seed = (sample.bits[a] - sample.bits[b]) @ weights_TK.T
    seeds = len(per_seed)
    parts = weights_TK**2 * sample.variance[a, b]
    variance = parts.sum(axis=1)
    # Welch and Satterthwaite: a sum of estimated variances, each with its own degrees of freedom
    spread = (parts**2 / sample.freedom).sum(axis=1)
    freedom = np.divide(variance**2, spread, out=np.ones_like(variance), where=spread > 0)
    return Contrasts(
        difference=per_seed.mean(axis=0),
        opponent=(sample.bits[b] @ weights_TK.T).mean(axis=0),
        between_seeds=per_seed.var(axis=0, ddof=1) if seeds > 1 else np.full(len(parts), math.nan),
        documents=variance,
        documents_one_seed=(weights_TK**2 * sample.seed_variance[a, b]).sum(axis=1),
        freedom=freedom,
        seeds=seeds,
    )


def together(contrasts: Sequence[Contrasts]) -> Contrasts:
    """One family out of several."""
    names = [field.name for field in fields(Contrasts) if field.name != "seeds"]
    joined = {name: np.concatenate([getattr(one, name) for one in contrasts]) for name in names}
    return Contrasts(**joined, seeds=contrasts[0].seeds)


def results(family: Contrasts, confidence: float, margin: float) -> list[Result]:
    """Judge a family of comparisons together: Holm's correction keeps all its wins and losses true at once."""
    p = p_values(family)
    adjusted, level = holm(p, 1 - confidence)
    half = half_widths(family, level)
    columns = zip(family.difference, family.opponent, half, p, adjusted, level, strict=True)
    return [
        Result(*map(float, row), outcome=outcome(row[0], row[2], row[4] <= 1 - confidence, margin * row[1]))
        for row in columns
    ]


def outcome(difference: float, half: float, significant: bool, tolerance: float) -> Outcome:
    """`tie` if the whole interval lies within the tolerance (however sure its sign), else win, loss or undecided."""
    if not math.isfinite(half):
        return UNDECIDED
    if abs(difference) + half <= tolerance:
        return TIE
    if not significant:
        return UNDECIDED
    return WIN if difference < 0 else LOSS


def half_widths(family: Contrasts, level: np.ndarray) -> np.ndarray:
    """Half of each interval at its error level `[N]`: seeds and documents, each with its own t, in quadrature."""
    if family.seeds < 2:
        return np.full(len(level), math.nan)
    of_seeds = student.quantile(level, np.full(len(level), family.seeds - 1)) ** 2
    of_documents = student.quantile(level, family.freedom) ** 2
    return np.sqrt(of_seeds * family.between_seeds / family.seeds + of_documents * family.documents)


def p_values(family: Contrasts) -> np.ndarray:
    """The level at which each interval just touches 0, `[N]`; NaN with one seed.

    difference^2 is split into a share u for the seeds and 1 - u for the documents; at the right u both parts have
    the same tail, the p-value. One tail falls in u and the other rises, so bisection finds it.
    """
    if family.seeds < 2:
        return np.full(len(family.difference), math.nan)
    squared = family.difference**2
    low, high = np.zeros_like(squared), np.ones_like(squared)
    for _ in range(60):
        middle = (low + high) / 2
        seeds, documents = _tails(family, squared * middle, squared * (1 - middle))
        low, high = np.where(seeds > documents, middle, low), np.where(seeds > documents, high, middle)
    # the larger share has the more digits
    seeds, documents = _tails(family, squared * high, squared * (1 - low))
    p = np.where(low < 0.5, documents, seeds)
    return np.where(np.isnan(family.documents), math.nan, p)


def _tails(family: Contrasts, seeds: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tails of the parts of difference^2 given to seeds and to documents, `[N]` each; no part, no evidence: 1."""
    parts = (
        (seeds, family.between_seeds / family.seeds, family.seeds - 1),
        (documents, family.documents, family.freedom),
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # a part without variance is an infinite t; 0 / 0 is not used
        by_seeds, by_documents = (
            student.tail(np.where(part > 0, np.sqrt(part / variance), 0.0), np.asarray(freedom))
            for part, variance, freedom in parts
        )
    return by_seeds, by_documents


def holm(p: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Holm's step-down: adjusted p-values and the error level at which each comparison is tested, `[N]` both.

    The smallest p is tested at alpha / N, the next at alpha / (N - 1), ..., until one fails; all from there on keep
    the level at which that one failed. NaN p-values stay NaN.
    """
    count = len(p)
    order = np.argsort(p, kind="stable")
    steps = count - np.arange(count)
    adjusted, level = np.empty(count), np.empty(count)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps * p[order]))
    rejected = int(np.sum(adjusted <= alpha))
    level[order] = alpha / steps[np.minimum(np.arange(count), min(rejected, count - 1))]
    return adjusted, level


def seeds_to_decide(family: Contrasts, index: int, effect: float, level: float) -> int | None:
    """Seeds after which a true difference of `effect` is told from 0 with a chance of 80 % (`POWER`).

    The variance between seeds is taken at its upper 80 % limit (chi squared, Wilson and Hilferty): that of two or
    three seeds is more often too small than too large, and a promise made from it would not be kept. What
    documents add to every seed alike does not shrink with seeds. None: not even `MOST_SEEDS` would do, or the one
    seed at hand shows no variance.
    """
    if family.seeds < 2 or not np.isfinite(family.documents[index]):
        return None
    seeds, have, z = np.arange(family.seeds + 1, MOST_SEEDS + 1), family.seeds, NormalDist().inv_cdf(POWER)
    freedom = have - 1
    pessimism = (1 - 2 / (9 * freedom) - z * math.sqrt(2 / (9 * freedom))) ** -3
    one_seed, mean = family.documents_one_seed[index], family.documents[index]
    own = max(0.0, one_seed - mean) * have / (have - 1)  # of documents, different in each seed: falls with seeds
    between = family.between_seeds[index] * pessimism / seeds
    documents = max(0.0, mean - own / have) + own / seeds
    by_freedom = student.quantile(np.array([level]), np.arange(1, student.MOST + 1))
    of_seeds = by_freedom[np.minimum(seeds - 1, student.MOST) - 1]
    of_documents = student.quantile(np.array([level]), family.freedom[index])
    half = np.sqrt(of_seeds**2 * between + of_documents**2 * documents)
    enough = np.flatnonzero(half + z * np.sqrt(between + documents) <= effect)
    return int(seeds[enough[0]]) if len(enough) else None
