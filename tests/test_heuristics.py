"""Plain mixtures against numbers worked out by hand, a brute-force oracle and what must always hold."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doremi.errors import MixtureError
from doremi.mixture.domains import Mixture
from doremi.mixture.plain import epochs, natural, temperature, uniform, unimax

TOKENS = {"web": 800.0, "code": 150.0, "books": 50.0}

counts = st.dictionaries(
    st.sampled_from([f"domain {i}" for i in range(12)]), st.integers(1, 10**13).map(float), min_size=1, max_size=12
)


def water_fill(tokens: dict[str, float], budget: float, cap: float) -> dict[str, float]:
    """UniMax another way: the water level at which min(level, cap x tokens) adds up to the budget, by bisection."""
    low, high = 0.0, budget
    for _ in range(200):
        level = (low + high) / 2
        if sum(min(level, cap * n) for n in tokens.values()) < budget:
            low = level
        else:
            high = level
    return {name: min(high, cap * n) / budget for name, n in tokens.items()}


def test_natural_is_by_size():
    assert natural(TOKENS).weights == pytest.approx({"web": 0.8, "code": 0.15, "books": 0.05})


def test_uniform_counts_domains():
    assert uniform(["web", "code", "books", "x"]).weights == {"web": 0.25, "code": 0.25, "books": 0.25, "x": 0.25}


def test_temperature_two_takes_square_roots():
    weights = temperature({"a": 900, "b": 100, "c": 400}, 2.0).weights
    assert weights == pytest.approx({"a": 30 / 60, "b": 10 / 60, "c": 20 / 60})


def test_temperature_ends():
    assert temperature(TOKENS, 1.0).weights == pytest.approx(dict(natural(TOKENS).weights))
    assert temperature(TOKENS, 1e9).weights == pytest.approx(dict(uniform(TOKENS).weights))
    assert temperature({"big": 1e300, "small": 1.0}, 1e-3).weights == {"big": 1.0, "small": 0.0}


def test_unimax_hands_on_what_a_small_domain_cannot_take():
    # budget 600, at most 2 passes: even shares are 200; books can take 100, the other 500 are split evenly
    weights = unimax(TOKENS, 600, 2.0).weights
    assert weights == pytest.approx({"web": 250 / 600, "code": 250 / 600, "books": 100 / 600})
    # budget 1000: books 100, code 300 of its even 450, web the other 600
    assert unimax(TOKENS, 1000, 2.0).weights == pytest.approx({"web": 0.6, "code": 0.3, "books": 0.1})


def test_unimax_without_a_binding_cap_is_uniform_and_at_the_limit_natural():
    assert unimax(TOKENS, 90, 1.0).weights == pytest.approx(dict(uniform(TOKENS).weights))
    assert unimax(TOKENS, 4000, 4.0).weights == pytest.approx(dict(natural(TOKENS).weights))


def test_unimax_states_the_largest_feasible_budget_and_takes_it():
    with pytest.raises(MixtureError, match="largest feasible budget is 4000 tokens"):
        unimax(TOKENS, 4000.5, 4.0)
    odd = {"a": 0.1, "b": 0.7, "c": 1e-3}
    with pytest.raises(MixtureError) as error:
        unimax(odd, 5.0, 1.7)
    stated = re.search(r"largest feasible budget is (\S+) tokens", str(error.value))
    assert stated is not None
    unimax(odd, float(stated[1]), 1.7)


def test_epochs_are_weight_times_budget_by_tokens():
    mixture = Mixture({"books": 0.5, "web": 0.4, "code": 0.1})
    assert list(epochs(mixture, TOKENS, 2000).items()) == [
        ("web", pytest.approx(1.0)),
        ("code", pytest.approx(200 / 150)),
        ("books", pytest.approx(20.0)),
    ]


@given(counts, st.floats(0.01, 1.0), st.floats(0.1, 50))
def test_unimax_against_water_filling(tokens: dict[str, float], part: float, cap: float):
    budget = part * cap * sum(tokens.values()) * (1 - 1e-12)
    mixture = unimax(tokens, budget, cap)
    assert mixture.weights == pytest.approx(water_fill(tokens, budget, cap), rel=1e-9, abs=1e-12)
    assert math.fsum(mixture.weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert max(epochs(mixture, tokens, budget).values()) <= cap * (1 + 1e-9)


@given(counts, st.floats(0.05, 20), st.randoms(use_true_random=False))
def test_order_of_domains_has_no_meaning(tokens: dict[str, float], heat: float, random):
    names = list(tokens)
    random.shuffle(names)
    shuffled = {name: tokens[name] for name in names}
    budget = 0.7 * sum(tokens.values())
    for make in (natural, lambda t: temperature(t, heat), lambda t: unimax(t, budget, 1.0)):
        assert make(shuffled).weights == pytest.approx(dict(make(tokens).weights), rel=1e-12)
        assert list(make(shuffled).weights) == names


@given(counts, st.floats(1.0, 20))
def test_temperature_keeps_the_order_of_sizes_and_lifts_the_smallest(tokens: dict[str, float], heat: float):
    weights, by_size = temperature(tokens, heat), natural(tokens)
    smallest = min(tokens, key=lambda name: tokens[name])
    assert weights[smallest] >= by_size[smallest] * (1 - 1e-9)
    ordered = [weights[name] for name in sorted(tokens, key=lambda name: tokens[name])]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize("count", [0, -1, math.nan, math.inf, "many", True, None])
@pytest.mark.parametrize("make", [natural, lambda t: temperature(t, 2.0), lambda t: unimax(t, 10, 1.0)])
def test_a_bad_count_is_one_line_that_names_the_domain(make, count):
    with pytest.raises(MixtureError, match="token count of domain 'code'") as error:
        make({"web": 10.0, "code": count})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, -2.0, math.nan, math.inf, "hot", False])
def test_bad_options_are_errors(value):
    mixture = natural(TOKENS)
    for call in (
        lambda: temperature(TOKENS, value),
        lambda: unimax(TOKENS, value, 1.0),
        lambda: unimax(TOKENS, 10, value),
        lambda: epochs(mixture, TOKENS, value),
    ):
        with pytest.raises(MixtureError, match=r"the (temperature|budget|largest number)"):
            call()


def test_other_domains_are_named():
    with pytest.raises(MixtureError, match="'books'"):
        epochs(Mixture({"web": 1.0, "code": 1.0}), TOKENS, 10)
    with pytest.raises(MixtureError, match="'code'"):
        epochs(Mixture({"web": 1.0, "code": 1.0}), {"web": 5.0}, 10)
    with pytest.raises(MixtureError, match="no domains"):
        natural({})


def test_numpy_counts_are_numbers():
    counted: dict[str, Any] = {"a": np.int64(3), "b": np.float32(1)}
    assert natural(counted).weights == {"a": 0.75, "b": 0.25}
