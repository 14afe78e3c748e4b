"""What training twice as long would take: from the noise half way and at the end of the same trainings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from doremi.statistics.judge import noise
from doremi.statistics.longer import Trend, trend
from doremi.statistics.needed import Longer, Needed
from doremi.statistics.setting import Terms
from doremi.statistics.table import DomainLosses, Entrant, Measurements
from tolerances import FLOAT64


def table(end_CS: np.ndarray, half_CS: np.ndarray | None) -> Measurements:
    """One domain of one document, in bits a byte."""
    candidates, seeds = end_CS.shape
    entrants = tuple(Entrant(str(c), "plain", (1.0,), is_reference=c == 0) for c in range(candidates))
    domain = DomainLosses("all", 1.0, np.array([1.0]), end_CS[..., None] * math.log(2))
    half = None if half_CS is None else half_CS[..., None]
    return Measurements(entrants, tuple(range(seeds)), (domain,), half)


def draws(generator: np.random.Generator, half: float, end: float, candidates: int = 3, seeds: int = 3) -> Measurements:
    """Trainings whose logarithms have these SDs half way and at the end."""
    shape = (candidates, seeds)
    return table(np.exp(end * generator.normal(size=shape)), np.exp(half * generator.normal(size=shape)))


def test_the_trend_is_that_of_the_residual_variance() -> None:
    logs = np.array([[0.0, 0.01, -0.01], [0.02, 0.0, 0.0], [0.0, 0.0, 0.03]])
    early = 2 * logs + np.array([0.5, 0.6, 0.7])[:, None] + np.array([0.1, 0.0, 0.2])  # whole rows and columns off
    found = trend(table(np.exp(logs), np.exp(early)), "uniform")
    assert found is not None
    assert (found.ratio, found.freedom) == (pytest.approx(0.25, rel=1000 * FLOAT64), 4)


@pytest.mark.parametrize(("candidates", "seeds"), [(2, 3), (3, 2), (2, 4)])
def test_too_few_trainings_show_no_trend(candidates: int, seeds: int) -> None:
    few = draws(np.random.default_rng(0), 0.01, 0.005, candidates, seeds)
    assert trend(few, "uniform") is None
    assert trend(draws(np.random.default_rng(0), 0.01, 0.005, 3, 3), "uniform") is not None


def test_no_trend_without_half_way_or_without_noise() -> None:
    values = np.ones((3, 3))
    assert trend(table(values * 1.1, None), "uniform") is None
    assert trend(table(values * 1.1, values), "uniform") is None


def test_some_of_a_table_has_its_own_half() -> None:
    whole = draws(np.random.default_rng(1), 0.01, 0.005, 4, 5)
    assert whole.half_CSK is not None
    part = whole.only([2, 0], [4, 1])
    assert part.half_CSK is not None
    assert np.array_equal(part.half_CSK, whole.half_CSK[[2, 0]][:, [4, 1]])


def seeds_for(sd: float) -> int:
    """What is said where so many trainings were seen that nothing is uncertain."""
    generator = np.random.default_rng(5)
    told = noise(draws(generator, 1.0, sd, 3, 4000), Terms("uniform", 0.05, 0.005), 3)
    assert told is not None
    assert told.seeds is not None
    return told.seeds


def test_the_limit_holds_in_four_of_five() -> None:
    """Half way the SD is 2.4 %, at the end 1.2 %, so that of twice the length would be 0.6 %."""
    generator, truth = np.random.default_rng(2), seeds_for(0.006)
    told = [noise(draws(generator, 0.024, 0.012), Terms("uniform", 0.05, 0.005), 3) for _ in range(300)]
    longer = [one.longer for one in told if one is not None and one.longer is not None]
    assert len(longer) == 300
    assert np.mean([(one.at_most or math.inf) >= truth for one in longer]) > 0.8 - 3 * math.sqrt(0.8 * 0.2 / 300)
    too_many = np.mean([(one.seeds or math.inf) >= truth for one in longer])
    assert 0.35 < too_many < 0.75


def test_the_spread_is_that_of_two_variances() -> None:
    """The variance of the logarithm of a mean square of many degrees n is 2 / n."""
    assert Trend(1.0, 2000).spread(2000) == pytest.approx(math.sqrt(4 * 2 / 2000 + 2 / 2000), rel=0.01)


@pytest.mark.parametrize(
    ("half", "said"),
    [
        (0.03, "Training twice as long would take about "),
        (0.002, "Longer training may not take fewer, for the noise has not fallen since half way."),
    ],
)
def test_the_words(half: float, said: str) -> None:
    told = noise(draws(np.random.default_rng(3), half, 0.01), Terms("uniform", 0.05, 0.005), 3)
    assert isinstance(told, Needed)
    assert told.longer_words().startswith(said)


@pytest.mark.parametrize(
    ("longer", "said"),
    [
        (Longer(2, 5, 0.5), "would take about 2 (80 %: at most 5), if"),
        (Longer(40, None, 0.5), "would take about 40 (80 %: perhaps more than 1000), if"),
        (Longer(None, None, 0.9), "would take more than 1000 (80 %: perhaps more than 1000), if"),
    ],
)
def test_the_words_at_the_ends_of_what_is_counted(longer: Longer, said: str) -> None:
    """Two seeds are the fewest, so the number may be the same though the noise falls."""
    assert said in Needed(0.01, 2, 6, None, longer).longer_words()
