"""The parts of the verdict's statistics by hand, against SciPy's distributions, and by their limits."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from doremi.errors import RunError
from doremi.statistics import student
from doremi.statistics.by_domain import by_domain
from doremi.statistics.compared import compare
from doremi.statistics.document_noise import document_noise, domain_documents
from doremi.statistics.dunnett import multiplier
from doremi.statistics.intervals import between
from doremi.statistics.judge import judge
from doremi.statistics.looks import PLAN, Record, look, next_look
from doremi.statistics.parts import Parts
from doremi.statistics.race import Heat, finalists, fresh_seeds, next_heat, survivors
from doremi.statistics.regret import expected_regret, largest_regret
from doremi.statistics.seed_noise import freedom, pair_variances, seed_noise
from doremi.statistics.sequences import Steps, hold_sequences
from doremi.statistics.setting import Terms
from doremi.statistics.steps import crossing
from doremi.statistics.table import DomainLosses, Entrant, Measurements
from test_statistics_errors import entrant, world

# -- distributions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0.5, 1.0, 1.99, 2.8, 30.5, 1e5])
def test_student_against_scipy(degrees: float) -> None:
    t, levels = np.array([0.0, 0.1, 1.0, 5.0, 200.0]), np.array([1.0, 0.9, 0.5, 0.05, 1e-6])
    assert student.tail(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), rel=1e-8)
    assert student.quantile(levels, degrees) == pytest.approx(stats.t.isf(levels / 2, degrees), rel=1e-7, abs=1e-9)
    assert student.tail(np.array(np.inf), degrees) == 0


def test_dunnett_by_its_limits_and_its_table() -> None:
    """One comparison is Student's t; 2.51 and 2.21 are in Dunnett's table for five comparisons and many degrees."""
    for degrees in (0.7, 2.8, 40.0):
        assert multiplier(1, degrees, 0.05) == pytest.approx(stats.t.isf(0.025, degrees), rel=1e-4)
        assert multiplier(1, degrees, 0.05, one_sided=True) == pytest.approx(stats.t.isf(0.05, degrees), rel=1e-4)
    assert multiplier(5, 1e6, 0.05) == pytest.approx(2.51, abs=0.005)
    assert multiplier(5, 1e6, 0.05, one_sided=True) == pytest.approx(2.23, abs=0.01)
    assert multiplier(2, 10, 0.05) == pytest.approx(2.57, abs=0.005)


# -- noise -------------------------------------------------------------------------------------------------------------


def test_moderated_variance_by_hand() -> None:
    bits_CS = np.array([[1.0, 1.2, 1.1], [1.1, 1.1, 1.3], [0.9, 1.2, 1.2]])
    own = np.array([[np.var(a - b, ddof=1) for b in bits_CS] for a in bits_CS])
    assert pair_variances(bits_CS) == pytest.approx(own)
    left = bits_CS - bits_CS.mean(1, keepdims=True) - bits_CS.mean(0) + bits_CS.mean()
    s2 = (left**2).sum() / 4
    hub = (own[0, 1] + own[0, 2]) / 2
    held = seed_noise(bits_CS, np.array([True, False, False]))
    assert held.residual == pytest.approx(s2)
    assert held.variance[0, 1] == pytest.approx((4 * max(2 * s2, hub) + 2 * own[0, 1]) / 6)
    assert held.variance[1, 2] == pytest.approx((4 * 2 * s2 + 2 * own[1, 2]) / 6)
    assert held.variance[1, 0] == held.variance[0, 1]
    assert np.diag(held.variance).tolist() == [0, 0, 0]


def test_a_noisy_hub_is_guarded_against() -> None:
    random = np.random.default_rng(0)
    bits_CS = 1 + 0.01 * random.standard_normal((6, 5)) * np.array([[5], [1], [1], [1], [1], [1]])
    guarded, bare = (seed_noise(bits_CS, np.arange(6) == place).variance for place in (0, 7))
    assert (guarded[0, 1:] > 1.2 * bare[0, 1:]).all()
    assert guarded[1:, 1:] == pytest.approx(bare[1:, 1:])


def test_two_candidates_have_their_own_variance() -> None:
    assert freedom(2, 5) == pytest.approx(4)
    bits_CS = np.random.default_rng(0).standard_normal((2, 5))
    held = seed_noise(bits_CS, np.array([True, False]))
    assert held.variance[0, 1] == pytest.approx(np.var(bits_CS[0] - bits_CS[1], ddof=1))


def test_degrees_of_freedom_grow_and_stay_below_the_pooled() -> None:
    for candidates in (3, 6, 12):
        held = [freedom(candidates, seeds) for seeds in (2, 3, 5, 8, 50)]
        assert held == sorted(held)
        pairs = zip(held, (2, 3, 5, 8, 50), strict=True)
        assert all(seeds - 1 < degrees < (candidates - 1) * (seeds - 1) for degrees, seeds in pairs)


def test_documents_linearised_are_those_of_a_ratio_of_sums() -> None:
    random = np.random.default_rng(0)
    size = np.maximum(20, 500 * np.exp(0.5 * random.standard_normal(60)))
    nats = size * (1 + 0.05 * random.standard_normal((2, 60)))
    one = domain_documents(nats, size)
    difference, share = nats[0] - nats[1], size / size.sum()
    moved = (difference - share * difference.sum()) / (size.sum() * math.log(2))
    second, third = (share**2).sum(), (share**3).sum()
    expected = (moved**2).sum() * second / (second - 2 * third + second**2) / one.bits.mean() ** 2
    assert one.documents == pytest.approx(1 / second)
    assert one.spread[0, 1] / one.documents == pytest.approx(expected)
    resampled = []
    for _ in range(4000):
        picked = random.integers(60, size=60)
        resampled.append(difference[picked].sum() / (size[picked].sum() * math.log(2)))
    assert np.sqrt((moved**2).sum()) == pytest.approx(np.std(resampled), rel=0.05)


def test_what_all_share_cancels() -> None:
    size = np.full(30, 500.0)
    base = size * (1 + 0.5 * np.random.default_rng(0).standard_normal(30))
    assert domain_documents(np.stack([base, base + 0.2 * size]), size).spread[0, 1] < 1e-20


def test_domains_lend_variance_by_their_degrees() -> None:
    size = {count: np.full(count, 1000.0) for count in (1, 3, 41)}
    random = np.random.default_rng(0)
    domains = [domain_documents(s * (1 + 0.01 * random.standard_normal((2, len(s)))), s) for s in size.values()]
    held = document_noise(domains)
    u = [one.spread[0, 1] for one in domains]
    pooled = (2 * u[1] + 40 * u[2]) / 42
    assert held.variance[0, 1] == pytest.approx(
        [pooled, (4 * pooled + 2 * u[1]) / 18, (4 * pooled + 40 * u[2]) / 44 / 41]
    )
    assert held.freedom == pytest.approx([4, 6, 42])


# -- both parts --------------------------------------------------------------------------------------------------------


def test_half_widths_at_both_ends_and_between() -> None:
    def half(seeds: float, documents: float) -> float:
        return float(Parts(np.array(seeds), 2.0, np.array(documents), 10.0).half(0.05))

    assert half(1.0, 0.0) == pytest.approx(4.30265, rel=1e-5)
    assert half(0.0, 1.0) == pytest.approx(2.22814, rel=1e-5)
    assert half(1.0, 1.0) == pytest.approx(math.hypot(4.30265, 2.22814), rel=1e-5)
    assert half(1.0, math.nan) == half(1.0, 0.0)
    assert math.isnan(half(math.nan, 1.0))


positive = st.floats(1e-6, 10.0)


@settings(max_examples=60, deadline=None)
@given(st.floats(-5, -0.01), positive, positive, st.floats(0.5, 40), st.floats(1, 300))
def test_the_one_sided_bound_at_level_p_touches_zero(difference, seeds, documents, freedom, of_documents) -> None:
    one = Parts(np.array(seeds), freedom, np.array(documents), of_documents)
    p = float(one.p_below(np.array(difference)))
    assert float(one.p_below(np.array(-difference))) == pytest.approx(1 - p, abs=1e-9)
    if 1e-9 < p < 0.49:
        assert one.half(2 * p) == pytest.approx(-difference, rel=1e-5)


def test_fixed_documents_are_narrower() -> None:
    one = Parts(np.array(1.0), 2.0, np.array(1.0), 10.0)
    assert one.fixed().half(0.05) == pytest.approx(4.30265, rel=1e-5)


# -- claims ------------------------------------------------------------------------------------------------------------


def held(*steps: tuple[str, float, float]) -> list[tuple[float, bool, bool]]:
    found = hold_sequences([Steps(*step) for step in steps], 0.05)
    return [(round(one.level, 10), one.first, one.second) for one in found]


def test_the_second_claim_waits_for_the_first() -> None:
    assert held(("a", 0.04, 0.05)) == [(0.05, True, True)]
    assert held(("a", 0.06, 0.001)) == [(0.05, False, False)]
    assert held(("a", 0.001, 0.06)) == [(0.05, True, False)]


def test_methods_share_the_level_and_pass_on_whole_sequences() -> None:
    assert held(("a", 0.03, 0.03), ("b", 0.5, 0.5)) == [(0.025, False, False), (0.025, False, False)]
    assert held(("a", 0.02, 0.02), ("b", 0.04, 0.5)) == [(0.025, True, True), (0.05, True, False)]
    assert held(("a", 0.001, 0.03), ("b", 0.04, 0.5)) == [(0.025, True, False), (0.025, False, False)]
    # two mixtures of one method share its half, and one passes on to the other first
    assert held(("a", 0.01, 0.01), ("a", 0.02, 0.5), ("b", 0.03, 0.5)) == [
        (0.0125, True, True), (0.025, True, False), (0.025, False, False),
    ]  # fmt: skip


# -- regret ------------------------------------------------------------------------------------------------------------


def compared(effects: list[float], seeds: int = 5):
    table = world([40, 40], effects, seeds)
    return compare(table.bits(), table.documents(), np.array([0.5, 0.5]), np.arange(len(effects)) == 0)


def test_expected_regret_is_what_drawing_gives() -> None:
    one = compared([-0.004, 0, 0.001])
    random, count = np.random.default_rng(0), 400_000
    degrees, level = one.noise.pooled_freedom, one.means.mean()
    documents = one.parts.documents[~np.eye(3, dtype=bool)].mean() / 2 / level**2
    variance = one.noise.residual / level**2 * degrees / random.chisquare(degrees, count) / 5 + documents
    kept = 1e-4 / (1e-4 + variance)
    mean = kept[:, None] * (one.means / level - 1) + np.sqrt(kept * variance)[:, None] * random.standard_normal(
        (count, 3)
    )
    expected = (mean - mean.min(axis=1, keepdims=True)).mean(axis=0)
    assert expected_regret(one, np.ones(3, dtype=bool)) == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_regret_is_of_those_that_may_be_chosen() -> None:
    one = compared([-0.05, 0, 0.03])
    among = np.array([False, True, True])
    assert expected_regret(one, among)[0] < 1e-4
    assert expected_regret(one, np.ones(3, dtype=bool))[1] == pytest.approx(0.05, abs=0.01)
    assert largest_regret(one, among, 0.05)[0] == 0
    assert largest_regret(one, among, 0.05)[1] > one.means[2] - one.means[1]


# -- domains -----------------------------------------------------------------------------------------------------------


def test_profiles_lose_what_a_training_is_off_as_a_whole() -> None:
    """Noise of whole runs is in the levels alone; a shift between two domains is in the profile."""
    random = np.random.default_rng(0)
    run = 0.02 * random.standard_normal((3, 4, 1)) + 0.001 * random.standard_normal((3, 4, 6))
    shift_K = np.array([-0.03, 0.03, 0, 0, 0, 0])
    bits = 3 * (1 + run)
    bits[0] *= 1 + shift_K
    size = np.full(40, 1000.0)
    noise = document_noise([
        domain_documents(bits[..., k].mean(axis=1)[:, None] * size * math.log(2), size) for k in range(6)
    ])  # fmt: skip
    one = compare(bits, noise, np.full(6, 1 / 6), np.arange(3) == 0)
    found = by_domain(bits, noise, one, 0, 1)
    assert found.profile == pytest.approx(shift_K, abs=0.004)
    assert found.profile.sum() == pytest.approx(0, abs=1e-12)
    assert (found.profile_parts.half(0.05) < 0.1 * found.level_parts.half(0.05)).all()


def test_one_sentence_says_what_moved() -> None:
    table = world([60, 60, 60], [0, 0, 0.01], noise=0.0005)
    moved = [
        replace(d, nats_CSD=d.nats_CSD * np.array([f, 1, 1])[:, None, None])
        for d, f in zip(table.domains, (0.95, 1.05, 1), strict=True)
    ]
    judged = judge(replace(table, domains=tuple(moved)), Terms())
    assert judged.domains[0].words.startswith("Against natural, doremi surely moves loss from d0 to d1.")
    assert judged.domains[0].words.endswith("The mean over domains stays within the margin.")
    alike = judge(world([60, 60, 60], [0, 0, 0.01], noise=0.01), Terms()).domains[0]
    assert alike.words == (
        "Against natural, no domain surely differs from the average change of doremi. "
        "Whether the mean over domains gains is open."
    )


def test_the_sentence_is_sure_of_all_domains_at_once() -> None:
    """Thirty domains in which nothing differs: some lie outside of their own 95 % interval, and none is named."""
    named, outside = 0, 0
    for seed in range(40):
        judged = judge(world([20] * 30, [0, 0, 0], seeds=3, seed=seed), Terms()).domains[0]
        named += "no domain surely differs" not in judged.words
        intervals = [row.profile_interval for row in judged.domains]
        outside += any(low * high > 0 for low, high in filter(None, intervals))
    assert named <= 6
    assert outside >= 20


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_the_smallest_regret_is_recommended_and_only_proofs_are_called_so() -> None:
    won = judge(world([60, 60], [-0.03, 0, 0.01]), Terms()).recommended
    assert (won.mixture, won.proved) == ("doremi", True)
    assert won.reason.startswith("doremi is proved better than natural and than every plain mixture.")
    first = judge(world([60, 60], [-0.03, 0, -0.03]), Terms()).recommended
    assert "doremi is proved better than natural." in first.reason
    assert "and than every" not in first.reason
    lost = judge(world([60, 60], [0.03, 0, 0.02]), Terms())
    assert min(one.expected or 0.0 for one in lost.choices["uniform"]) >= 0
    none = lost.recommended
    assert (none.mixture, none.proved) == ("natural", False)
    assert none.reason.startswith("No found mixture is proved better than natural.")
    assert "natural is the best of the candidates (95 %)." in none.reason
    assert none.reason.endswith("It has the smallest expected regret, less than 0.01%.")
    open_ = judge(world([60, 60], [0, 0, 0]), Terms()).recommended
    assert re.search(r"It is at most 0\.\d\d% worse than the best of the candidates \(95 %\)\.", open_.reason)


def test_what_is_proved_is_a_win_whatever_the_other_rows_need() -> None:
    """A claim in a sequence needs less than an interval that holds for all rows at once."""
    judged = judge(world([400], [-0.002, 0, 0, 0], seeds=3, noise=0.001), Terms())
    first = judged.comparisons[0]
    assert judged.claims[0].held
    assert first.interval is not None
    assert first.interval[1] > 0
    assert first.outcome == "win"


def test_pairs_without_a_claim_count_one_training_once() -> None:
    table = world([60, 60], [-0.03, 0, 0.01])
    alike = tuple(replace(d, nats_CSD=d.nats_CSD[[0, 1, 2, 2]]) for d in table.domains)
    twice = replace(table, domains=alike, entrants=(*table.entrants, entrant("unimax")))
    one, other = (between(t, [(0, 1), (0, 2)], Terms(), "compute") for t in (table, twice))
    assert one == other
    assert {row.family for row in one} == {"compute"}
    assert [(row.opponent, row.target) for row in one] == [
        ("natural", "uniform"), ("uniform", "uniform"), ("natural", "natural"), ("uniform", "natural"),
    ]  # fmt: skip


def test_the_other_average_is_told() -> None:
    table = world([60, 60], [0, 0, 0], noise=0.0005)
    first, second = table.domains
    factor = np.array([0.99, 1, 1])[:, None, None]
    domains = (
        replace(first, natural=0.9, nats_CSD=first.nats_CSD * factor),
        replace(second, natural=0.1, nats_CSD=second.nats_CSD * np.array([1.02, 1, 1])[:, None, None]),
    )
    told = [
        judge(replace(table, domains=domains), Terms(target=target)).recommended for target in ("uniform", "natural")
    ]
    assert told[1].mixture == "doremi"
    assert told[0].mixture != "doremi"
    assert told[0].other_mixture == "doremi"


def test_no_interval_is_one_that_a_loss_cannot_have() -> None:
    """A loss is never below 0, so nothing is more than 100 % better; a domain that noise hides has no interval."""
    judged = judge(world([4, 4], [-0.1, 0, 0], seeds=2, noise=0.4), Terms())
    lowest = [one.interval[0] / (one.difference / one.relative) for one in judged.comparisons if one.interval]
    assert min(lowest) == pytest.approx(-1)
    rows = [row for one in judged.domains for row in one.domains]
    assert None in {row.profile_interval for row in rows} | {row.level_interval for row in rows}
    assert all(row.level_interval[0] >= -1 for row in rows if row.level_interval)


def test_one_seed_decides_nothing_and_says_so() -> None:
    judged = judge(world([60, 60], [-0.03, 0, 0], seeds=1), Terms())
    assert {one.interval for one in judged.comparisons} == {None}
    assert not any(one.held for one in judged.claims)
    assert (judged.noise, judged.settle) == (None, None)
    assert "One seed shows no noise." in judged.recommended.reason


def test_a_reference_outside_the_limits_is_a_baseline_only() -> None:
    table = world([60, 60], [0.03, 0, 0.02])
    outside = tuple(replace(one, allowed=not one.is_reference) for one in table.entrants)
    judged = judge(replace(table, entrants=outside), Terms())
    assert judged.recommended.mixture == "uniform"
    assert [one.candidate for one in judged.choices["uniform"]] == ["doremi", "uniform"]
    assert judged.claims[0].over == ("natural",)
    nobody = tuple(replace(one, allowed=False) for one in table.entrants)
    with pytest.raises(RunError, match="no candidate keeps the limits"):
        judge(replace(table, entrants=nobody), Terms())


def test_names_of_one_training_are_one_candidate() -> None:
    table = world([60, 60], [-0.03, 0, 0])
    doubled = tuple(replace(d, nats_CSD=d.nats_CSD[[0, 1, 2, 2]]) for d in table.domains)
    twice = replace(table, domains=doubled, entrants=(*table.entrants, entrant("unimax")))
    judged = judge(twice, Terms())
    assert judged.same == (("unimax", "uniform"),)
    assert judged.claims == judge(table, Terms()).claims


def test_a_found_mixture_that_is_the_reference_claims_nothing() -> None:
    table = world([60, 60], [0, 0, 0])
    alike = tuple(replace(d, nats_CSD=d.nats_CSD[[1, 1, 2]]) for d in table.domains)
    judged = judge(replace(table, domains=alike), Terms())
    assert judged.claims == ()
    assert judged.same == (("doremi", "natural"),)


def test_a_method_is_described_and_never_recommended() -> None:
    table = world([60, 60], [0, 0, 0, -0.05])
    entrants = (*table.entrants[:3], Entrant("doremi-per-seed", "per-seed", (0.5, 0.5), method="doremi"))
    judged = judge(replace(table, entrants=entrants), Terms())
    assert judged.recommended.mixture != "doremi-per-seed"
    shown = [one for one in judged.comparisons if one.candidate == "doremi-per-seed"]
    assert {one.family for one in shown} == {"method"}
    assert all(one.relative == pytest.approx(-0.05, abs=0.01) for one in shown)
    without = judge(table.only(range(3), table.seeds), Terms())
    assert judged.claims == without.claims


def test_a_table_without_the_reference_mixture_is_refused() -> None:
    table = world([60], [-0.03, 0, 0])
    with pytest.raises(RunError, match=r"the reference mixture is not among the candidates \(doremi, uniform\)"):
        judge(table.only([0, 2], table.seeds), Terms())


def test_an_exploratory_look_claims_nothing() -> None:
    judged = judge(world([60, 60], [-0.03, 0, 0]), Terms(exploratory="This look was not planned."))
    assert not any(one.held or one.tested for one in judged.claims)
    assert {one.outcome for one in judged.comparisons} == {"undecided"}
    assert judged.recommended.reason.endswith("This look was not planned.")


# -- steps to baseline -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "step"),
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
def test_crossings_by_hand(levels: list[float], step: float | None) -> None:
    assert crossing(np.array([10.0, 20, 30, 40]), np.array(levels, float), 3.0) == step


# -- looks and races ---------------------------------------------------------------------------------------------------


def test_one_look_is_at_the_whole_level_and_further_ones_explore() -> None:
    first = look(None, "once", (0, 1, 2), 0.05)
    assert (first.level, first.exploratory) == (0.05, None)
    record = Record("once").with_look((0, 1, 2))
    assert look(record, "once", (0, 1, 2), 0.05).exploratory is None
    added = look(record, "once", (0, 1, 2, 3), 0.05)
    assert added.exploratory is not None
    assert "The first verdict had 3 seeds." in added.exploratory


def test_planned_looks_are_at_a_third_of_the_level() -> None:
    record = None
    for count in PLAN:
        one = look(record, "planned", tuple(range(count)), 0.05)
        assert (one.level, one.exploratory) == (pytest.approx(0.0175), None)
        record = (record or Record("planned")).with_look(tuple(range(count)))
    assert "this is a look at 4 seeds" in str(look(record, "planned", range(4), 0.05).exploratory)
    assert "other seeds" in str(look(record, "planned", (1, 2, 3), 0.05).exploratory)
    assert "cannot change" in str(look(record, "once", range(12), 0.05).exploratory)
    assert [next_look(count) for count in (1, 3, 4, 8, 12)] == [3, 5, 5, 12, None]


def test_a_record_counts_a_look_once() -> None:
    record = Record("once").with_look((0,)).with_look((0, 1)).with_look((0, 1))
    assert record.seeds == ((0, 1),)


def test_a_race_halves_and_keeps_the_reference() -> None:
    means = {"doremi": 1.0, "natural": 9.0, "uniform": 3.0, "unimax": 2.0, "a": 4.0, "b": 5.0}
    assert survivors(means, "natural") == ("doremi", "natural", "uniform", "unimax")
    first = next_heat([], list(means), "natural", 10)
    assert first == Heat(tuple(means), 10)
    second = next_heat([means], list(means), "natural", 10)
    assert second == Heat(("doremi", "natural", "uniform", "unimax"), 11)
    later = {"doremi": 9.0, "natural": 0.0, "uniform": 1.0, "unimax": 1.0}
    assert next_heat([means, later], list(means), "natural", 10) is None
    assert finalists([means, later], list(means), "natural") == ("natural", "uniform", "unimax")
    assert fresh_seeds(10, 2, 3, 8) == (12, 13)
    assert next_heat([], ["natural", "a", "b"], "natural", 0) is None


def test_the_same_table_gives_the_same_verdict() -> None:
    table = world([5, 3, 1], [-0.01, 0, 0.002])
    assert judge(table, Terms()) == judge(table, Terms())


def test_domains_without_a_second_document_leave_documents_fixed() -> None:
    judged = judge(world([1, 1], [-0.03, 0, 0]), Terms())
    held = judged.comparisons[0]
    assert held.interval is not None
    assert held.interval == held.fixed
    bare = DomainLosses("a", 1.0, np.array([1000.0]), np.ones((1, 1, 1)))
    assert bare.bits_CS() == pytest.approx(1 / (1000 * math.log(2)))


def test_a_whole_table_is_made_of_its_parts() -> None:
    table = world([5, 3], [-0.01, 0, 0.002])
    fewer = table.only([2, 0], (4, 1))
    assert isinstance(fewer, Measurements)
    assert fewer.names == ("uniform", "doremi")
    assert fewer.bits() == pytest.approx(table.bits()[[2, 0]][:, [4, 1]])
