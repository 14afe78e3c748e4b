"""Have the averaged domain weights of a proxy settled, or would a longer run give another mixture?

The average of alpha_1 .. alpha_T flattens whatever the path does, because each step moves it by 1/t: its flatness
proves nothing. So the path itself is judged, over its recent half, cut into blocks. "Settled" has to be earned:

    it can be judged    the half holds many autocorrelation times of every domain's weight and of its logarithm
                        (a random walk or a trend is as long as whatever window it is seen in)
    it repeats nothing  the autocorrelation at long lags is small (a cycle comes back, noise does not)
    it goes nowhere     block means, and a line through them, differ by no more than their standard error allows
    it is known         the standard error of the half's mean is small in itself; with batch means among its estimates,
                        that also bounds how far blocks lie apart
    it is what we keep  the average over the whole run is close to the recent mean: the start no longer shows

The variance of a mean is gamma_0 + 2 sum gamma_l over the number of steps, the sum cut by the initial positive sequence
(Geyer 1992, Practical Markov chain Monte Carlo), of the half as a whole and within its blocks, and by batch means; the
largest of the three counts. The comparison of blocks uses what happens within blocks, which no trend inflates.

Shapes: T steps, N steps (or bins of steps) of the recent half, B blocks, L steps a block, K domains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

BLOCKS = 5  # enough to see a bend or a cycle, few enough that a block holds ten autocorrelation times
EFFECTIVE = 50  # autocorrelation times that the half must hold; a random walk of any length seems to hold about five
TOLERANCE = 0.01  # L1: standard error of the mean weights; half a token in a hundred goes elsewhere
LAG = 0.05  # L1: average against recent mean; a run twice as long would move the average by half of it
CYCLE = 0.5  # of the variance comes back at long lags; noise of 50 autocorrelation times leaves about 0.1
LEVEL = 0.01  # chance that noise alone fails the comparison of blocks, over all domains together
STILL = 1e-3  # relative: a weight that moves by no more in half the run is as good as constant
FLOOR = 1e-8  # weights below this count as this in logarithms: nobody gets a token of them
POINTS = 2**14  # longer halves are averaged in bins down to this many points


@dataclass(frozen=True, eq=False)
class Settled:
    """The judgement and what it rests on; L1 distances are twice the share of tokens that goes elsewhere.

    `reason` is one line with numbers. `change` is the largest L1 distance between two block means,
    `standard_error_K` that of the recent mean, `block_means_BK` the means in order of time, `effective_samples` the
    number of autocorrelation times in the recent half (the least of any domain), `first_step` the first step of it
    (counted from 1), `lag` the L1 distance of the average over all steps from the recent mean. Where the path is too
    short to be judged the numbers are NaN and the arrays have no or NaN entries.
    """

    settled: bool
    reason: str
    change: float
    standard_error_K: np.ndarray
    block_means_BK: np.ndarray
    effective_samples: float
    first_step: int
    lag: float


def judge(alpha_TK: np.ndarray, tolerance: float = TOLERANCE) -> Settled:
    """Judge a path of weights `[T, K]` (rows sum to 1), all steps of a run in order.

    `tolerance`, L1: how well the mean of the recent half must be known.
    """
    steps, k = alpha_TK.shape
    half = (steps - steps // 2) // BLOCKS * BLOCKS
    short = steps < 2 * EFFECTIVE
    if short or not np.isfinite(alpha_TK).all():
        reason = (
            f"only {steps} steps, and at least {2 * EFFECTIVE} are needed" if short else "some weights are not finite"
        )
        nothing_K = np.full(k, math.nan)
        return Settled(False, reason, math.nan, nothing_K, np.empty((0, k)), math.nan, steps - half + 1, math.nan)
    recent_NK = _binned(alpha_TK[-half:])
    blocks_BLK = recent_NK.reshape(BLOCKS, -1, k)
    mean_BK = blocks_BLK.mean(axis=1)
    within_K = _long_run_variance(_autocovariance(blocks_BLK - mean_BK[:, None]).mean(axis=0))
    batch_K = blocks_BLK.shape[1] * mean_BK.var(axis=0, ddof=1)
    moving_K = np.ptp(recent_NK, axis=0) > STILL * recent_NK.max(axis=0)
    lrv_K, effective, returning = _memory(recent_NK, moving_K)
    error_K = np.sqrt(np.maximum.reduce([lrv_K, within_K, batch_K]) / len(recent_NK))
    apart = _largest_z(mean_BK[:, moving_K], np.sqrt(within_K[moving_K] / blocks_BLK.shape[1]))
    change = float(np.abs(mean_BK[:, None] - mean_BK[None]).sum(axis=-1).max())
    lag = float(np.abs(alpha_TK.mean(axis=0, dtype=np.float64) - recent_NK.mean(axis=0)).sum())
    fault = _fault(effective, returning, apart) if moving_K.any() else None
    if fault is None and error_K.sum() > tolerance:
        fault = f"the mean of the last half is known to {error_K.sum():.3f} (L1) only, and {tolerance:.2g} is needed"
    if fault is None and lag > LAG:
        fault = f"the average still holds the start of the run (it is {lag:.3f} (L1) from the recent mean)"
    reason = (
        fault or f"recent mean known to {error_K.sum():.4f} (L1), blocks within {change:.3f}, average {lag:.3f} off"
    )
    return Settled(fault is None, reason, change, error_K, mean_BK, effective, steps - half + 1, lag)


def _fault(effective: float, returning: float, apart: tuple[float, float]) -> str | None:
    """The first thing that speaks against "settled"."""
    z, limit = apart
    if effective < EFFECTIVE:
        return (
            "the weights were still moving when training ended "
            f"(the last half holds {effective:.0f} autocorrelation times, {EFFECTIVE} are needed)"
        )
    if returning > CYCLE:
        return f"the weights cycle ({returning:.0%} of their variance comes back at long lags)"
    if z > limit:
        return f"the weights still moved (block means differ by {z:.1f} standard errors, noise gives {limit:.1f})"
    return None


def _binned(recent_NK: np.ndarray) -> np.ndarray:
    """float64, in bins of equal width if there are too many steps; the oldest that fill no whole block are left."""
    width = -(-len(recent_NK) // POINTS)
    kept = len(recent_NK) // (width * BLOCKS) * width * BLOCKS
    return recent_NK[len(recent_NK) - kept :].reshape(kept // width, width, -1).mean(axis=1, dtype=np.float64)


def _memory(recent_NK: np.ndarray, moving_K: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Long-run variance `[K]`, autocorrelation times held, share of the variance that comes back at long lags.

    The last two also look at logarithms: a weight near 0 that wanders over decades is all spikes and calm in itself.
    """
    n = len(recent_NK)
    held, lrv_K, returning = float(n), np.zeros(recent_NK.shape[1]), 0.0
    for path_NK in (np.log(np.maximum(recent_NK, FLOOR)), recent_NK):
        gamma_NK = _autocovariance(path_NK - path_NK.mean(axis=0))
        lrv_K = _long_run_variance(gamma_NK)
        seen_K = moving_K & (gamma_NK[0] > 0)
        held = min(held, n * float(np.min(gamma_NK[0][seen_K] / lrv_K[seen_K], initial=1.0)))
        far_N = (gamma_NK.sum(axis=1) * n / np.arange(n, 0, -1))[n // 4 : n // 2]
        returning = max(returning, float(far_N.max()) / max(float(gamma_NK[0].sum()), np.finfo(float).tiny))
    return lrv_K, held, returning


def _autocovariance(centred: np.ndarray) -> np.ndarray:
    """gamma_0 .. gamma_{L-1} along the last axis but one, divided by L; `[..., L, K]` to `[..., L, K]`."""
    length = centred.shape[-2]
    spectrum = np.fft.rfft(centred, n=2 * length, axis=-2)
    return np.fft.irfft(np.abs(spectrum) ** 2, n=2 * length, axis=-2)[..., :length, :] / length


def _long_run_variance(gamma_LK: np.ndarray) -> np.ndarray:
    """-gamma_0 + 2 (sum of gamma_2m + gamma_2m+1 while that is positive) `[K]`, never below gamma_0 (white noise)."""
    even = len(gamma_LK) // 2 * 2
    pairs_MK = gamma_LK[:even].reshape(even // 2, 2, -1).sum(axis=1)
    positive_MK = np.logical_and.accumulate(pairs_MK > 0, axis=0)
    return np.maximum(2 * (pairs_MK * positive_MK).sum(axis=0) - gamma_LK[0], gamma_LK[0])


def _largest_z(mean_BK: np.ndarray, error_K: np.ndarray) -> tuple[float, float]:
    """Largest difference of two blocks, or of a line through all, in standard errors; and the most that noise gives."""
    contrasts = [np.eye(BLOCKS)[i] - np.eye(BLOCKS)[j] for i in range(BLOCKS) for j in range(i)]
    contrasts_CB = np.array([*contrasts, np.arange(BLOCKS) - (BLOCKS - 1) / 2])
    contrasts_CB /= np.linalg.norm(contrasts_CB, axis=1, keepdims=True)
    z_CK = np.abs(contrasts_CB @ mean_BK) / np.maximum(error_K, 1e-12)
    return float(z_CK.max(initial=0.0)), NormalDist().inv_cdf(1 - LEVEL / (2 * max(z_CK.size, 1)))
