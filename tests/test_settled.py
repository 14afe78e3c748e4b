"""Settled or not, on made paths whose truth is known: what drifts, cycles or wanders must never pass for settled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from doremi.diagnostics.settled import EFFECTIVE, LAG, TOLERANCE, judge
from tolerances import FLOAT64

STEPS = 3000
TIME = np.arange(STEPS) / STEPS


def softmax(logit: np.ndarray) -> np.ndarray:
    weight = np.exp(logit - logit.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def noise(seed: int, steps: int, k: int, phi: float) -> np.ndarray:
    """Independent AR(1) of variance 1, long after its start, `[steps, k]`."""
    path = np.random.default_rng(seed).normal(size=(steps + 200, k)) * math.sqrt(1 - phi**2)
    for t in range(1, len(path)):
        path[t] += phi * path[t - 1]
    return path[200:]


def stationary(seed: int, steps: int = STEPS, k: int = 4, phi: float = 0.5, scale: float = 0.1) -> np.ndarray:
    """Softmax of AR(1) logits around unequal levels, `[steps, k]`."""
    return softmax(np.log(np.linspace(1, 3, k)) + scale * noise(seed, steps, k, phi))


def wandering(seed: int, scale: float, steps: int = STEPS, k: int = 4, smoothing: float = 1e-3) -> np.ndarray:
    """Algorithm 1 on scores that are noise alone."""
    score = np.random.default_rng(seed).normal(size=(steps, k)) * scale
    alpha, path = np.full(k, 1 / k), np.empty((steps, k))
    for t in range(steps):
        alpha = path[t] = (1 - smoothing) * softmax(np.log(alpha) + score[t]) + smoothing / k
    return path


def moved(path: np.ndarray, course: np.ndarray, size: float) -> np.ndarray:
    """`path` with `size` x `course` (0 to 1 or -1 to 1) of the weight going from the last domain to the first."""
    out = path.copy()
    out[:, 0] += size * course
    out[:, -1] -= size * course
    return out


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("k", [2, 12])
def test_stationary_paths_settle(k: int, phi: float):
    """Power: at least 5 of 6; 88 of 90 in a larger simulation with 200 autocorrelation times in the half."""
    judged = [judge(stationary(seed, k=k, phi=phi, scale=0.05, steps=4000)) for seed in range(6)]
    assert sum(j.settled for j in judged) >= 5, [j.reason for j in judged]


@pytest.mark.parametrize("scale", [0.003, 0.03, 0.3, 2.0])
@pytest.mark.parametrize(("k", "steps"), [(2, 400), (4, 3000), (22, 1000)])
def test_random_walks_never_settle(k: int, steps: int, scale: float):
    for seed in range(5):
        judged = judge(wandering(seed, scale, steps, k))
        assert not judged.settled
        if scale < 2.0:  # the largest steps hit the bounds that smoothing sets, and come back
            assert judged.effective_samples < EFFECTIVE / 2
            assert "autocorrelation times" in judged.reason


@pytest.mark.parametrize(
    "course", [TIME, np.sqrt(TIME), 1 - np.exp(-2 * TIME), TIME > 0.75], ids=["lin", "sqrt", "exp", "jump"]
)
@pytest.mark.parametrize("scale", [0.0, 0.02, 0.2])
def test_drift_never_settles(course: np.ndarray, scale: float):
    for seed in range(3):
        judged = judge(moved(stationary(seed, scale=scale), course.astype(float), 0.1))
        assert not judged.settled, judged.reason


@pytest.mark.parametrize("period", [2, 7, 30, 100, 250, 300, 310, 700, 1500, 3000, 6000, 12000])
@pytest.mark.parametrize("scale", [0.0, 0.02, 0.2])
def test_cycles_never_settle(period: int, scale: float):
    course = np.sin(2 * np.pi * np.arange(STEPS) / period + 0.8)
    judged = judge(moved(stationary(period, scale=scale), course, 0.1))
    assert not judged.settled, judged.reason


def test_a_train_of_spikes_is_a_cycle():
    assert "cycle" in judge(moved(stationary(1, phi=0.0), np.arange(STEPS) % 40 < 2, 0.2)).reason


def test_growth_from_almost_nothing_is_seen_though_it_is_tiny():
    """A weight that doubles every 100 steps, from 1e-12 to 1e-5: nothing in L1, everything a little later."""
    path = softmax(np.stack([np.zeros(STEPS), np.linspace(-27.6, -11.5, STEPS)], axis=1))
    judged = judge(path)
    assert judged.change < TOLERANCE / 100
    assert not judged.settled


def test_a_drift_far_below_the_noise_of_a_step_is_seen_in_the_blocks():
    judged = judge(moved(stationary(4, steps=4000, phi=0.0, scale=0.05), np.linspace(0, 1, 4000), 0.01))
    assert not judged.settled
    assert judged.effective_samples > EFFECTIVE
    assert "block means differ" in judged.reason


def test_a_weight_near_zero_that_wanders_over_decades_is_seen_in_its_logarithm():
    path = stationary(1, steps=8000, k=3, scale=0.02)
    assert judge(path).settled
    small = np.exp(-14 + 2 * noise(2, 8000, 1, 0.98))
    judged = judge(np.concatenate([path * (1 - small), small], axis=1))
    assert judged.standard_error_K.sum() < TOLERANCE
    assert "autocorrelation times" in judged.reason


def test_a_flat_average_of_a_random_walk_is_not_settled():
    path = wandering(3, 0.01, 20000)
    average = np.cumsum(path, axis=0) / np.arange(1, len(path) + 1)[:, None]
    assert np.abs(average[-1] - average[-100]).sum() < 0.01
    assert not judge(path).settled


def test_an_average_that_still_holds_the_start_is_not_settled():
    path = stationary(5, steps=4000, scale=0.05)
    assert judge(path).settled
    path[:1000] = [0.97, 0.01, 0.01, 0.01]
    judged = judge(path)
    assert not judged.settled
    assert "start" in judged.reason
    assert judged.lag > LAG


def test_too_noisy_to_know_the_mean():
    judged = judge(stationary(0, steps=1000, phi=0.0, scale=1.0))
    assert not judged.settled
    assert "known to" in judged.reason


def test_standard_error_is_that_of_the_mean():
    """Against the spread of the means of 60 independent paths; Geyer's estimate is kept from below, so up to 2 x."""
    paths = [stationary(seed, steps=1000, phi=0.8, scale=0.05) for seed in range(60)]
    spread_K = np.std([path[500:].mean(axis=0) for path in paths], axis=0)
    claimed_K = np.mean([judge(path).standard_error_K for path in paths], axis=0)
    assert (claimed_K > 0.8 * spread_K).all()
    assert (claimed_K < 2.0 * spread_K).all()


def test_constant_weights_are_settled_and_one_domain_is():
    for path in (np.full((200, 3), 1 / 3, dtype=np.float32), np.ones((100, 1))):
        judged = judge(path)
        assert judged.settled
        assert judged.change == 0.0
    fixed = np.concatenate([0.9 * stationary(2, steps=4000, scale=0.05), np.full((4000, 1), 0.1)], axis=1)
    assert judge(fixed.astype(np.float32)).settled


def test_numbers_are_what_they_say():
    path = moved(np.full((100, 2), 0.5), np.arange(100) // 10 * 1.0, 0.01)
    judged = judge(path)
    assert judged.first_step == 51
    assert judged.block_means_BK[:, 0] == pytest.approx([0.55, 0.56, 0.57, 0.58, 0.59], abs=FLOAT64)
    assert judged.change == pytest.approx(0.08, abs=FLOAT64)
    assert judged.lag == pytest.approx(0.05, abs=FLOAT64)


@pytest.mark.parametrize("steps", [0, 1, 2, 99])
def test_short_paths_are_not_judged(steps: int):
    judged = judge(np.full((steps, 3), 1 / 3))
    assert not judged.settled
    assert f"only {steps} steps" in judged.reason
    assert judged.standard_error_K.shape == (3,)
    assert math.isnan(judged.change)


def test_weights_that_are_no_numbers():
    path = np.full((300, 3), 1 / 3)
    path[200, 1] = math.nan
    judged = judge(path)
    assert not judged.settled
    assert "not finite" in judged.reason


def test_long_paths_are_binned_and_float32_and_order_change_nothing():
    path = stationary(7, steps=40000, scale=0.2)
    judged = judge(path)
    assert judged.settled
    assert judge(path.astype(np.float32)).settled
    assert judge(path[:, ::-1]).standard_error_K[::-1] == pytest.approx(judged.standard_error_K, rel=1e-9)
    assert not judge(wandering(7, 0.01, 40000)).settled


RECORDED = sorted((Path(__file__).parent / "assets").glob("proxy_path_*.npy"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_paths_of_real_proxies_do_not_settle(path: Path):
    """alpha of proxies on real text (docs/results/study.md), `[T, K]`: the average looks flat, the path still moves."""
    path_TK = np.load(path)
    steps = len(path_TK)
    average_TK = np.cumsum(path_TK, axis=0, dtype=np.float64) / np.arange(1, steps + 1)[:, None]
    late = np.abs(average_TK[-1] - average_TK[-steps // 20]).sum() / 2
    assert late < 0.03  # hardly anything moves in the average's last twentieth
    assert not judge(path_TK).settled


def test_there_are_recorded_paths():
    assert len(RECORDED) == 2
