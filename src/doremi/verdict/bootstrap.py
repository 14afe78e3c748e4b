"""The document direction of the two-way bootstrap: how much a difference moves with the validation documents.

Documents are resampled with replacement within each domain, the same resample for every candidate and seed, so that
differences are paired; bits per byte of a resample are its nats / (its bytes x ln 2). Only variances are kept.

Shapes: C candidates, S seeds, K domains, D documents of one domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
_ENTRIES = 1 << 20  # documents x resamples drawn at once: some 30 MB, whatever the size of the corpus
_FEWEST = 1.1  # a domain with fewer effective documents cannot be resampled; see `gather`


@dataclass(frozen=True)
class DomainSample:
    """One domain, one split: nats a token and bits per byte of each run `[C, S]`, and variances `[C, C]`.

    `variance[a, b]` is that of the difference between candidates a and b averaged over seeds, `seed_variance[a, b]`
    the mean over seeds of the variance of one seed's difference; the first is the smaller, as resampling moves
    seeds differently. `level_variance` is that of the level which all runs share. `documents` is the effective number,
    (sum of bytes)^2 / sum of bytes^2: one huge document among small ones is hardly more than one.
    """

    loss: np.ndarray
    bits: np.ndarray
    variance: np.ndarray
    seed_variance: np.ndarray
    level_variance: float
    documents: float


@dataclass(frozen=True)
class Sample:
    """One split: what `DomainSample` has, over domains (last axis K). `freedom[k]`: degrees of its variances."""

    loss: np.ndarray
    bits: np.ndarray
    variance: np.ndarray
    seed_variance: np.ndarray
    level_variance: np.ndarray
    freedom: np.ndarray


def sample_domain(
    nats_CSD: np.ndarray, tokens_D: np.ndarray, bytes_D: np.ndarray, key: Sequence[int], resamples: int = RESAMPLES
) -> DomainSample:
    """Sum one domain up and resample its documents. `key` seeds the resampling: same key, same variances."""
    runs = nats_CSD.shape[:2]
    total = nats_CSD.sum(axis=2)
    documents = 1 / float(((bytes_D / bytes_D.sum()) ** 2).sum())
    draws = _draws(nats_CSD.reshape(-1, len(bytes_D)).T, bytes_D, np.random.default_rng(key), resamples)
    unshrunk = _unshrunk(bytes_D, documents)
    level_variance = float(draws.mean(axis=1).var(ddof=1)) * unshrunk
    draws -= draws.mean(axis=1, keepdims=True)  # what all runs share cancels in every difference: drop it, keep digits
    covariance = np.atleast_2d(np.cov(draws.T)).reshape(*runs, *runs) * unshrunk
    return DomainSample(
        loss=total / tokens_D.sum(),
        bits=total / (bytes_D.sum() * math.log(2)),
        variance=_of_differences(covariance.mean(axis=(1, 3))),
        seed_variance=_of_differences(np.einsum("asbs->ab", covariance) / runs[1]),
        level_variance=level_variance,
        documents=documents,
    )


def gather(domains: Sequence[DomainSample]) -> Sample:
    """Put domains together, in their order.

    A domain with a single document (or one that dwarfs the others) shows no variance of its own. Taking that for
    none would call noise a win, so it gets the mean variance of a document elsewhere; if no domain has two
    documents, variances are NaN and nothing can be told.
    """
    documents = np.array([domain.documents for domain in domains])
    known = documents >= _FEWEST
    return Sample(
        loss=np.stack([domain.loss for domain in domains], axis=-1),
        bits=np.stack([domain.bits for domain in domains], axis=-1),
        variance=_lend(np.stack([domain.variance for domain in domains], axis=-1), documents, known),
        seed_variance=_lend(np.stack([domain.seed_variance for domain in domains], axis=-1), documents, known),
        level_variance=_lend(np.array([domain.level_variance for domain in domains]), documents, known),
        freedom=np.where(known, np.maximum(1.0, documents - 1), 1.0),
    )


def _lend(variance_CCK: np.ndarray, documents_K: np.ndarray, known_K: np.ndarray) -> np.ndarray:
    if not known_K.any():
        return variance_CCK
    of_a_document = (variance_CCK * documents_K)[..., known_K].mean(axis=-1, keepdims=True)
    return np.where(known_K, variance_CCK, of_a_document / documents_K)


def _draws(nats_DR: np.ndarray, bytes_D: np.ndarray, random: np.random.Generator, resamples: int) -> np.ndarray:
    """Bits per byte of each run in each resample, `[resamples, R]` with R = C x S."""
    documents = len(bytes_D)
    at_once = max(1, _ENTRIES // documents)
    parts = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        picked = random.integers(documents, size=(rows, documents)) + documents * np.arange(rows)[:, None]
        times = np.bincount(picked.ravel(), minlength=rows * documents).reshape(rows, documents).astype(float)
        parts.append(times @ nats_DR / (times @ bytes_D * math.log(2))[:, None])
    return np.concatenate(parts)


def _unshrunk(bytes_D: np.ndarray, documents: float) -> float:
    """What resampled variances are multiplied with to be right on average.

    Documents differ from a mean that they have pulled towards themselves. With equal sizes that leaves (n - 1) / n
    of the variance, hence n / (n - 1); a large document pulls more. Documents' bits per byte are taken to vary
    alike whatever the size; large ones vary less in truth, so this errs to the wide side. NaN: cannot be known.
    """
    if documents < _FEWEST:
        return math.nan
    share = bytes_D / bytes_D.sum()
    second, third = float((share**2).sum()), float((share**3).sum())
    return second / (second - 2 * third + second**2)


def _of_differences(covariance_CC: np.ndarray) -> np.ndarray:
    """Var(a - b) for all a, b; rounding below zero is cut off."""
    own = np.diag(covariance_CC)
    return np.maximum(0.0, own[:, None] + own[None, :] - 2 * covariance_CC)
