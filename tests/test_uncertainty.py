"""Intervals of weights over proxies, and distances between them."""

from __future__ import annotations

import numpy as np
import pytest

from doremi.diagnostics.uncertainty import uncertainty, whether_settled
from doremi.mixture.domains import DomainSet, Mixture
from doremi.mixture.record import Uncertainty
from tolerances import FLOAT32

NAMES = DomainSet(["a", "b"])


def mixtures(*weights: float) -> dict[int, Mixture]:
    return {seed: Mixture({"a": w, "b": 1 - w}) for seed, w in enumerate(weights)}


def test_by_hand() -> None:
    """Weights 0.5, 0.6, 0.7: mean 0.6, t of 2 degrees at 95 % 4.30265 on logarithms. Two domains lend nothing."""
    found = uncertainty(mixtures(0.5, 0.6, 0.7), NAMES, 0.95)
    assert found.interval is not None
    for name, weights in (("a", [0.5, 0.6, 0.7]), ("b", [0.5, 0.4, 0.3])):
        half = 4.302653 * np.log(weights).std(ddof=1) / 3**0.5
        middle = np.mean(weights)
        expected = [middle * np.exp(-half), min(1, middle * np.exp(half))]
        assert found.interval[name] == pytest.approx(expected, rel=FLOAT32)
    assert found.distance is not None
    assert (found.distance.mean, found.distance.largest) == pytest.approx((0.4 / 3, 0.2))


def test_variances_are_lent_between_domains() -> None:
    """Four domains, of which one differs more between three proxies: four degrees of the others count."""
    weights = np.array([[1, 1, 1, 1], [1.1, 1, 0.9, 1.5], [0.9, 1.1, 1, 0.7]])
    names = DomainSet(["a", "b", "c", "d"])
    both = {seed: Mixture(dict(zip(names, row, strict=True))) for seed, row in enumerate(weights)}
    share = weights / weights.sum(axis=1, keepdims=True)
    own = np.log(share).var(axis=0, ddof=1)
    half = 2.446912 * np.sqrt((4 * own.mean() + 2 * own) / 6 / 3)  # t of 6 degrees
    found = uncertainty(both, names, 0.95).interval
    assert found is not None
    for k, name in enumerate(names):
        assert found[name][0] == pytest.approx(share[:, k].mean() * np.exp(-half[k]), rel=FLOAT32)


def test_intervals_stay_within_0_and_1() -> None:
    found = uncertainty(mixtures(0.98, 0.6), NAMES, 0.95)
    assert found.interval is not None
    assert found.interval["a"][1] == 1
    assert found.interval["b"][0] is not None
    assert 0 < found.interval["b"][0] < 0.02


def test_one_proxy_tells_nothing_of_the_spread() -> None:
    assert uncertainty(mixtures(0.5), NAMES, 0.95) == Uncertainty(confidence=0.95)


def test_nineteen_in_twenty_intervals_hold_the_truth() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        drawn = np.clip(random.normal(0.4, 0.05, size=3), 0.01, 0.99)
        found = uncertainty(mixtures(*drawn), NAMES, 0.95)
        assert found.interval is not None
        low, high = found.interval["a"]
        held += (low or 0.0) <= 0.4 <= (high or 0.0)
    assert 930 <= held <= 970


def test_settled_is_told_with_its_reason() -> None:
    steady = np.full((400, 2), 0.5) + 0.01 * np.random.default_rng(0).standard_normal((400, 1)) * [1, -1]
    drifting = np.stack([np.linspace(0.2, 0.8, 400), np.linspace(0.8, 0.2, 400)], axis=1)
    assert whether_settled(steady, steps=400, learning_rate=0.1).settled
    found = whether_settled(drifting, steps=400, learning_rate=0.1)
    assert not found.settled
    assert found.reason
    assert (found.steps, found.learning_rate) == (400, 0.1)
