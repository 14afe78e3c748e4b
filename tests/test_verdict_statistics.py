"""The arithmetic under the verdict: Student's t, resampled documents, intervals, Holm, outcomes, seeds."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doremi.diagnostics import student
from doremi.verdict import bootstrap
from doremi.verdict.bootstrap import DomainSample, Sample, gather, sample_domain
from doremi.verdict.compare import (
    Contrasts,
    contrast,
    half_widths,
    holm,
    outcome,
    p_values,
    results,
    seeds_to_decide,
    together,
)
from doremi.verdict.describe import steps_to_baseline
from doremi.verdict.measure import Curve
from doremi.verdict.pairs import Roles, compare_overall, ordered_pairs, seen_from
from doremi.verdict.values import StepsToBaseline

ALL = np.arange(1, student.MOST + 1)


def family(difference, between, documents, *, seeds=3, freedom=200.0, opponent=1.0) -> Contrasts:
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(x, float)) for x in (difference, between, documents)))
    size = columns[0].shape
    return Contrasts(
        difference=columns[0],
        opponent=np.full(size, opponent),
        between_seeds=columns[1],
        documents=columns[2],
        documents_one_seed=columns[2],
        freedom=np.full(size, freedom),
        seeds=seeds,
    )


# -- Student's t -----------------------------------------------------------------------------------------------------


def test_quantiles_of_the_printed_tables():
    found = student.quantile(np.full(6, 0.05), np.array([1, 2, 3, 4, 10, 30]))
    assert found == pytest.approx([12.7062, 4.30265, 3.18245, 2.77645, 2.22814, 2.04227], rel=1e-5)
    assert student.tail(np.array([0.0, 1.0, np.inf]), np.array([7, 1, 3])) == pytest.approx([1.0, 0.5, 0.0])


def test_tail_and_quantile_against_scipy():
    t = pytest.importorskip("scipy.stats", reason="scipy is not a dependency; it is only the oracle here").t
    at = np.geomspace(1e-4, 1e4, 25)[:, None]
    expected = 2 * t.sf(at, ALL)
    there = expected > 1e-250
    assert student.tail(at, ALL)[there] == pytest.approx(expected[there], rel=1e-9)
    levels = np.geomspace(1e-12, 0.999, 8)[:, None]
    assert student.quantile(levels, ALL) == pytest.approx(t.isf(levels / 2, ALL), rel=1e-8)


def test_degrees_of_freedom_are_rounded_to_the_wide_side():
    wide = student.quantile(np.full(4, 0.05), np.array([2.99, 0.3, 1e9, 2.0]))
    assert wide[0] == wide[3]
    assert wide[1] == pytest.approx(12.7062, rel=1e-5)
    assert 1.95996 < wide[2] < 1.9721


# -- resampling documents --------------------------------------------------------------------------------------------


def made(seed: int, shape: tuple[int, int, int], spread: float = 0.05, sizes: float = 0.0):
    """Nats `[C, S, D]` and bytes `[D]`; nats a byte are 1 +- `spread`, sizes log-normal."""
    random = np.random.default_rng(seed)
    size = np.maximum(20, 500 * np.exp(sizes * random.standard_normal(shape[2]))).astype(int)
    return size * (1 + spread * random.standard_normal(shape)), size


def test_sums_of_a_domain():
    nats = np.array([[[1.0, 3.0], [2.0, 4.0]]])
    sample = sample_domain(nats, np.array([2, 6]), np.array([5, 15]), key=[0])
    assert sample.loss == pytest.approx(np.array([[0.5, 0.75]]))
    assert sample.bits == pytest.approx(np.array([[4, 6]]) / 20 / math.log(2))


def test_resampled_variance_is_that_of_a_ratio_of_sums():
    nats, size = made(0, (3, 2, 60), sizes=0.5)
    sample = sample_domain(nats, size // 4, size, key=[1], resamples=8000)
    difference = (nats[0] - nats[2]).mean(axis=0)  # averaged over seeds
    share = size / size.sum()
    rest = (difference - difference.sum() * share) / size.sum() / math.log(2)
    second, third = (share**2).sum(), (share**3).sum()
    expected = (rest**2).sum() * second / (second - 2 * third + second**2)
    assert sample.variance[0, 2] == pytest.approx(expected, rel=0.06)
    one_seed = np.mean([((d - d.sum() * share) ** 2).sum() for d in nats[0] - nats[2]]) / size.sum() ** 2
    assert sample.seed_variance[0, 2] == pytest.approx(
        one_seed / math.log(2) ** 2 * expected / (rest**2).sum(), rel=0.06
    )


def test_the_pull_of_documents_on_their_mean_by_hand():
    assert bootstrap._unshrunk(np.array([7, 7, 7, 7]), 4.0) == pytest.approx(4 / 3)
    assert bootstrap._unshrunk(np.array([3, 1]), 1.6) == pytest.approx(0.625 / (0.625 - 2 * 0.4375 + 0.625**2))


@pytest.mark.parametrize("sizes", [0.0, 1.0])
def test_variance_is_right_on_average_for_few_documents(sizes: float):
    found, truth = [], []
    for trial in range(200):
        nats, size = made(trial, (2, 1, 20), sizes=sizes)
        found.append(sample_domain(nats, size, size, key=[trial], resamples=150).variance[0, 1])
        truth.append(2 * (0.05 / math.log(2)) ** 2 * ((size / size.sum()) ** 2).sum())
    assert np.mean(found) == pytest.approx(np.mean(truth), rel=0.1)  # resampling alone shows 0.94 and 0.77 of it


def test_documents_are_resampled_alike_for_all_runs():
    nats, size = made(3, (1, 1, 30), spread=0.5)
    shifted = np.concatenate([nats, nats + 0.2 * size])  # a difference that is the same in every document
    sample = sample_domain(shifted, size, size, key=[0], resamples=200)
    assert sample.variance[0, 1] < 1e-20
    alone = sample_domain(np.concatenate([nats, np.full_like(nats, 1.0) * size]), size, size, key=[0], resamples=200)
    assert alone.variance[0, 1] > 1e-4


def test_chunks_of_resamples_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch):
    nats, size = made(4, (2, 2, 17))
    whole = sample_domain(nats, size, size, key=[5], resamples=301)
    monkeypatch.setattr(bootstrap, "_ENTRIES", 100)
    parts = sample_domain(nats, size, size, key=[5], resamples=301)
    assert parts.variance == pytest.approx(whole.variance, rel=1e-9)
    other = sample_domain(nats, size, size, key=[6], resamples=301)
    assert other.variance[0, 1] != pytest.approx(whole.variance[0, 1], rel=1e-6)


def test_a_domain_with_one_document_borrows_the_variance_of_a_document():
    def domain(variance: float, documents: float) -> DomainSample:
        square = np.array([[0.0, variance], [variance, 0.0]])
        return DomainSample(np.ones((2, 3)), np.ones((2, 3)), square, 2 * square, 1.0, documents)

    sample = gather([domain(4.0, 10.0), domain(math.nan, 1.05), domain(1.0, 20.0)])
    assert sample.variance[0, 1] == pytest.approx([4.0, (40 + 20) / 2 / 1.05, 1.0])
    assert sample.seed_variance[0, 1] == pytest.approx([8.0, 60.0 / 1.05, 2.0])
    assert sample.freedom.tolist() == [9.0, 1.0, 19.0]
    alone = gather([domain(math.nan, 1.0)])
    judged = results(contrast(alone, 0, 1, np.ones((1, 1))), 0.95, 0.1)
    assert judged[0].outcome == "undecided"
    assert math.isnan(judged[0].half)


@pytest.mark.parametrize("sizes", [[700], [3000, 40, 20]])
def test_one_document_or_one_giant_shows_no_variance_of_its_own(sizes: list[int]):
    nats = np.array(sizes) * np.array([[[1.0]], [[1.1]]])
    assert np.isnan(sample_domain(nats, np.array(sizes), np.array(sizes), key=[0], resamples=50).variance).all()


# -- contrasts and intervals -----------------------------------------------------------------------------------------


def test_a_contrast_by_hand():
    bits = np.array([[[1.0, 2.0], [1.2, 2.4]], [[1.1, 2.0], [1.1, 2.0]]])  # candidate, seed, domain
    variance = np.zeros((2, 2, 2))
    variance[0, 1] = [0.04, 0.01]
    sample = Sample(bits, bits, variance, 3 * variance, np.zeros(2), np.array([4.0, 9.0]))
    one = contrast(sample, 0, 1, np.array([[0.5, 0.5], [1.0, 0.0]]))
    # per seed: (-0.1 + 0) / 2 and (0.1 + 0.4) / 2
    assert one.difference == pytest.approx([0.1, 0.0])
    assert one.between_seeds == pytest.approx([0.3**2 / 2, 0.2**2 / 2])
    assert one.opponent == pytest.approx([1.55, 1.1])
    assert one.documents == pytest.approx([0.0125, 0.04])
    assert one.documents_one_seed == pytest.approx([0.0375, 0.12])
    assert one.freedom == pytest.approx([0.0125**2 / (0.01**2 / 4 + 0.0025**2 / 9), 4.0])


def test_half_widths_at_both_ends_and_between():
    level = np.array([0.05])
    of_seeds = half_widths(family(0.0, 3.0, 0.0), level)
    assert of_seeds == pytest.approx(4.30265, rel=1e-5)  # t of 2 degrees; variance of the mean of 3 seeds is 1
    of_documents = half_widths(family(0.0, 0.0, 1.0, freedom=10.0), level)
    assert of_documents == pytest.approx(2.22814, rel=1e-5)
    assert half_widths(family(0.0, 3.0, 1.0, freedom=10.0), level) == pytest.approx(math.hypot(4.30265, 2.22814))


def test_p_values_at_the_ends():
    assert p_values(family([1.0, 1.0, 0.0, 0.0], [3.0, 0.0, 1.0, 0.0], 0.0)) == pytest.approx(
        [0.4226497, 0.0, 1.0, 1.0]  # t = 1 of 2 degrees; no variance at all; no difference
    )
    assert p_values(family(2.22814, 0.0, 1.0, freedom=10.0)) == pytest.approx(0.05, rel=1e-5)


positive = st.floats(1e-6, 10.0)


@settings(max_examples=50, deadline=None)
@given(st.floats(-5, 5), positive, positive, st.integers(2, 6), st.floats(1, 300))
def test_the_interval_at_level_p_touches_zero(difference, between, documents, seeds, freedom):
    one = family(difference, between, documents, seeds=seeds, freedom=freedom)
    p = p_values(one)
    if 1e-9 < p[0] < 0.9999:
        assert half_widths(one, p) == pytest.approx(abs(difference), rel=1e-5)


def test_one_seed_has_neither_interval_nor_p():
    one = family([0.5, 0.1], np.nan, 0.01, seeds=1)
    judged = results(one, 0.95, 10.0)
    assert [r.outcome for r in judged] == ["undecided", "undecided"]
    assert all(math.isnan(x) for r in judged for x in (r.half, r.p_value, r.p_adjusted))


# -- Holm, outcomes --------------------------------------------------------------------------------------------------


def test_holm_by_hand():
    adjusted, level = holm(np.array([0.04, 0.001, 0.03, 0.014]), 0.05)
    # in order: 0.001 x 4, 0.014 x 3, 0.03 x 2, then 0.04 x 1 raised to what came before
    assert adjusted == pytest.approx([0.06, 0.004, 0.06, 0.042])
    # 0.001 and 0.014 pass at 0.05 / 4 and 0.05 / 3; 0.03 fails at 0.05 / 2 and keeps all after it there
    assert level == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])


def test_holm_when_all_pass_and_when_none_does():
    adjusted, level = holm(np.array([0.01, 0.02]), 0.05)
    assert (adjusted.tolist(), level.tolist()) == ([0.02, 0.02], [0.025, 0.05])
    adjusted, level = holm(np.array([0.9, 0.5, 0.7]), 0.05)
    assert adjusted.tolist() == [1.0, 1.0, 1.0]
    assert level == pytest.approx([0.05 / 3] * 3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9), st.floats(0.8, 0.99))
def test_an_interval_excludes_zero_exactly_where_the_adjusted_p_is_small(differences, confidence):
    for result in results(family(differences, 0.02, 0.001), confidence, 0.0):
        if abs(abs(result.difference) - result.half) > 1e-9:
            assert (abs(result.difference) > result.half) == (result.p_adjusted <= 1 - confidence)
            assert (result.outcome in ("win", "loss")) == (abs(result.difference) > result.half)


@pytest.mark.parametrize(
    ("difference", "half", "significant", "expected"),
    [
        (-0.3, 0.2, True, "win"),
        (0.3, 0.2, True, "loss"),
        (0.3, 0.4, False, "undecided"),
        (0.02, 0.07, False, "tie"),
        (-0.04, 0.02, True, "tie"),  # surely better, and surely by less than anyone minds
        (-0.04, 0.07, False, "undecided"),
        (-0.3, math.nan, False, "undecided"),
        (0.0, 0.0, False, "tie"),
    ],
)
def test_the_four_outcomes(difference: float, half: float, significant: bool, expected: str):
    assert outcome(difference, half, significant, tolerance=0.1) == expected


def test_the_margin_is_relative_to_the_opponent():
    one = family(0.01, 1e-9, 1e-9, opponent=4.0)
    assert results(one, 0.95, 0.005)[0].outcome == "tie"
    assert results(replace(one, opponent=np.array([1.0])), 0.95, 0.005)[0].outcome == "loss"


def test_comparisons_of_a_family_are_corrected_together():
    alone = results(family(0.5, 0.03, 0.0), 0.95, 0.0)[0]
    among = results(together([family(0.5, 0.03, 0.0), family([0.0] * 9, 0.03, 0.0)]), 0.95, 0.0)[0]
    assert alone.outcome == "loss"
    assert among.outcome == "undecided"
    assert among.p_adjusted == pytest.approx(10 * alone.p_value)


# -- pairs -----------------------------------------------------------------------------------------------------------


def small_sample(candidates: int) -> Sample:
    random = np.random.default_rng(candidates)
    bits = 1 + 0.1 * random.random((candidates, 3, 2))
    variance = np.full((candidates, candidates, 2), 1e-6)
    return Sample(bits, bits, variance, variance, np.zeros(2), np.array([30.0, 30.0]))


def test_opponents_by_rank_then_by_place():
    # natural 1, reference 3, best plain 4, learned 0; 2 and 5 are neither
    roles = Roles(baseline=1, reference=3, best_plain=4, found=(0,))
    pairs = ordered_pairs(6, roles)
    assert len(pairs) == 15
    assert {(0, i) for i in range(1, 6)} | {(3, 1), (4, 1), (4, 3), (5, 2), (2, 4), (5, 3)} <= set(pairs)


def test_a_pair_knows_its_place_in_the_family_and_can_be_turned():
    sample = small_sample(3)
    weights = {"uniform": np.array([0.5, 0.5]), "natural": np.array([0.9, 0.1])}
    compared = compare_overall(sample, [(0, 1), (2, 1), (2, 0)], weights, 0.95, 0.0)
    for target, pairs in compared.items():
        for pair in pairs:
            bits = sample.bits[[pair.candidate, pair.opponent]].mean(axis=1) @ weights[target]
            assert pair.result.difference == pytest.approx(bits[0] - bits[1])
            assert pair.family.difference[pair.index] == pair.result.difference
            turned = seen_from(pairs, pair.opponent, pair.candidate)
            assert (turned.candidate, turned.opponent) == (pair.opponent, pair.candidate)
            assert turned.result.difference == -pair.result.difference
            assert turned.result.opponent == pytest.approx(bits[0])
            assert {turned.result.outcome, pair.result.outcome} in ({"win", "loss"}, {"undecided"})
            assert seen_from(pairs, pair.candidate, pair.opponent) == pair


def test_each_question_is_a_family_of_its_own():
    """What is corrected for is what is asked: more plain mixtures among themselves leave DoReMi's intervals alone."""
    roles = Roles(baseline=1, reference=1, best_plain=2, found=(0,), per_seed=(3,))
    pairs = ordered_pairs(4, roles)
    targets = {"uniform": np.array([0.5, 0.5]), "natural": np.array([0.9, 0.1])}
    compared = compare_overall(small_sample(4), pairs, targets, 0.95, 0.0, roles.question)["uniform"]
    sizes = {(pair.candidate, pair.opponent): len(pair.family.difference) for pair in compared}
    assert sizes == {(0, 1): 4, (0, 2): 4, (3, 0): 6, (3, 1): 6, (3, 2): 6, (2, 1): 2}
    assert [(pair.candidate, pair.opponent) for pair in compared] == pairs
    alone = compare_overall(small_sample(4), [(0, 1), (0, 2)], targets, 0.95, 0.0)["uniform"]
    assert [pair.result for pair in compared if pair.candidate == 0] == [pair.result for pair in alone]


# -- seeds to decide -------------------------------------------------------------------------------------------------


def test_seeds_to_decide_grow_as_the_effect_shrinks():
    one = family(0.01, 1e-4, 0.0)
    needed = [seeds_to_decide(one, 0, effect, 0.05) for effect in (0.1, 0.03, 0.02, 0.01)]
    assert needed == sorted(needed, key=lambda n: n or 0)
    # at 0.01: variance 1e-4 taken as 4.44e-4, and (2.028 + 0.842)^2 x 4.44 = 36.6, where 2.028 is t of 36 degrees
    assert needed[-1] == 37
    stricter = seeds_to_decide(one, 0, 0.01, 0.01)
    assert stricter is not None
    assert stricter > 37
    assert seeds_to_decide(one, 0, 10.0, 0.05) == 4  # never fewer than there are, as those did not decide it
    assert seeds_to_decide(one, 0, 0.001, 0.05) is None


def test_documents_that_all_seeds_share_are_a_floor():
    assert seeds_to_decide(family(0.01, 1e-4, 1e-4), 0, 0.01, 0.05) is None
    apart = replace(family(0.01, 1e-4, 1e-4), documents_one_seed=np.array([3e-4]))  # all of it differs by seed
    found = seeds_to_decide(apart, 0, 0.01, 0.05)
    assert found is not None
    assert found > 37


def test_one_seed_promises_nothing():
    assert seeds_to_decide(family(0.1, math.nan, 0.0, seeds=1), 0, 0.1, 0.05) is None


# -- steps to baseline -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ([5, 4, 2, 1], 25.0),  # half-way between 4 and 2
        ([5, 2, 4, 2], 35.0),  # reached, crossed back, reached again: only the last time holds
        ([5, 2, 4, 4], None),
        ([5, 4.5, 4, 3.5], None),
        ([3, 2, 2, 2], 10.0),  # at the first evaluation, exactly on the goal
        ([5, 4, 3, 3], 30.0),
        ([math.inf, 2, 2, 2], 20.0),
        ([5, math.nan, 2, 2], 30.0),
        ([5, 4, 2, math.nan], None),
    ],
)
def test_steps_to_baseline_by_hand(losses: list[float], step: float | None):
    curve = Curve(np.array([10, 20, 30, 40]), np.array(losses, float))
    expected = StepsToBaseline(reached=step is not None, step=step, of=40, speedup=step and 40 / step)
    assert steps_to_baseline(curve, 3.0, 40) == expected


def test_no_torch_is_needed():
    code = "import sys; sys.modules['torch'] = None; import doremi.verdict, doremi.mixture.plain"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
