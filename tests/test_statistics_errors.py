"""The sixteen errors that a review found in the first verdict, each with its small input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from doremi.diagnostics.settled import judge as judge_path
from doremi.diagnostics.uncertainty import uncertainty, whether_settled
from doremi.mixture.domains import DomainSet, Mixture
from doremi.statistics import student
from doremi.statistics.document_noise import document_noise, domain_documents
from doremi.statistics.dunnett import multiplier
from doremi.statistics.examples import guarded, outcome_in_points, sign_test
from doremi.statistics.judge import judge
from doremi.statistics.needed import needed
from doremi.statistics.parts import Parts
from doremi.statistics.setting import Setting, Terms
from doremi.statistics.steps import reached
from doremi.statistics.table import DomainLosses, Entrant, Measurements, Role

NAMES = ("doremi", "natural", "uniform")


def entrant(name: str, role: Role = "plain", domains: int = 2) -> Entrant:
    """On equal weights; natural is the reference mixture."""
    method = "doremi" if role == "found" else ""
    return Entrant(name, role, (1 / domains,) * domains, method=method, is_reference=name == "natural")


def world(
    documents: Sequence[int], effects: Sequence[float], seeds: int = 5, seed: int = 1, noise: float = 0.002
) -> Measurements:
    """Domains with so many documents of 1,000 bytes; `effects` of doremi, natural, uniform and further plain ones."""
    random = np.random.default_rng(seed)
    names = [*NAMES, *(f"plain-{i}" for i in range(len(effects)))][: len(effects)]
    run = noise * random.standard_normal((len(effects), seeds, 1))
    domains = []
    for k, count in enumerate(documents):
        own = 0.01 * random.standard_normal((len(effects), 1, count))
        nats = 1000 * math.log(2) * 3 * (1 + np.array(effects)[:, None, None] + run + own)
        domains.append(DomainLosses(f"d{k}", 1 / len(documents), np.full(count, 1000.0), nats))
    entrants = tuple(entrant(name, "found" if name == "doremi" else "plain", len(documents)) for name in names)
    return Measurements(entrants, tuple(range(seeds)), tuple(domains))


def half_of_documents(sizes: Sequence[int]) -> float:
    """Half of the 95 % interval of one domain's difference that documents of these bytes leave, relative."""
    size = np.array(sizes, float)
    nats = size * math.log(2) * (1 + 0.01 * np.random.default_rng(0).standard_normal((2, len(size))))
    variance, freedom = document_noise([domain_documents(nats, size)]).of(np.ones(1))
    parts = Parts(np.zeros(()), 10.0, variance[0, 1], freedom[0, 1])
    return float(parts.half(0.05))


def test_1_degrees_of_freedom_are_not_rounded_down() -> None:
    """Documents of 4000, 4288 and 4000 bytes are 2.99 documents: 1.99 degrees were made 1, and the width tripled."""
    assert half_of_documents([4000, 4288, 4000]) == pytest.approx(half_of_documents([4000, 4000, 4000]), rel=0.1)
    assert student.quantile(0.05, 1.99) == pytest.approx(student.quantile(0.05, 2.0), rel=0.01)


def test_2_one_small_domain_does_not_veto() -> None:
    """Nine domains, one with a single document, a true effect of 3 %."""
    halves = {}
    for last in (100, 1):
        judged = judge(world([100] * 8 + [last], [-0.03, 0, 0]), Terms())
        assert [claim.held for claim in judged.claims] == [True, True]
        ends = judged.comparisons[0].interval
        assert ends is not None
        halves[last] = ends[1] - ends[0]
    assert halves[1] < 2 * halves[100]


def test_3_intervals_hold_at_once_whatever_is_rejected() -> None:
    """Holm's step-down narrows an interval as others are rejected; single-step ones stay as wide."""
    apart = judge(world([50], [-0.05, 0, 0, 0]), Terms()).comparisons[0]
    equal = judge(world([50], [0, 0, 0, 0]), Terms()).comparisons[0]
    assert apart.interval is not None
    assert equal.interval is not None
    assert apart.interval[1] - apart.interval[0] == pytest.approx(equal.interval[1] - equal.interval[0], rel=0.05)
    alone = judge(world([50], [-0.05, 0, 0, 0]), Terms()).claims[0].at_least
    assert alone is not None
    assert -alone < apart.interval[1] / 3  # the one claim in its sequence is narrower than the family
    parts = Setting.of(world([50], [-0.05, 0, 0, 0]), Terms()).compared["uniform"].pair(0, 1)[1]
    three = parts.half_at(multiplier(3, float(parts.seed_freedom), 0.05))
    assert apart.interval[1] - apart.difference == pytest.approx(three)
    assert three > 1.2 * parts.half(0.05)


@pytest.mark.parametrize(("examples", "least"), [(2, 0.5), (5, 0.0625), (8, 0.0078125)])
def test_4_no_variance_is_no_certainty(examples: int, least: float) -> None:
    """Examples that one model has right and the other wrong, alike in all seeds: as many coins may fall so."""
    difference = -np.ones((3, examples))
    assert guarded(0.0, difference) == pytest.approx(least)
    assert guarded(0.9, difference) == 0.9
    zero = Parts(np.zeros(()), 2.0, np.zeros(()), 1.0)
    assert zero.p_below(np.array(-0.1)) == 1


def test_4_signs_of_both_kinds_are_counted() -> None:
    assert sign_test(np.array([-1, -1, -1, 0, 0, 1])) == pytest.approx(2 * (4 + 1) / 16)
    assert sign_test(np.zeros(4)) == 1


def test_5_the_few_shot_margin_is_in_points() -> None:
    """0.3 % and 0.1 % accuracy of 10,000 examples: no tie because both are wrong nearly always."""
    difference, half = -0.002, 0.0011
    assert outcome_in_points(difference, half, 0.001, 0.05, margin=0.005) == "win"
    assert outcome_in_points(difference, 0.0025, 0.2, 0.05, margin=0.005) == "tie"
    assert outcome_in_points(difference, 0.0025, 0.2, 0.05, margin=0.004) == "undecided"
    assert outcome_in_points(0.02, 0.01, 0.001, 0.05, margin=0.005) == "loss"
    assert outcome_in_points(0.02, math.nan, math.nan, 0.05, margin=1.0) == "undecided"


def test_6_nothing_is_said_to_be_measured_afresh() -> None:
    """All documents judge, and no words claim that some of them had no part in the choice."""
    table = world([20, 20], [-0.03, 0, 0])
    judged = judge(table, Terms())
    assert "report" not in judged.recommended.reason
    assert "did not" not in judged.recommended.reason
    of_all = [(d.nats_CSD[0] - d.nats_CSD[1]).sum(axis=1).mean() / (20_000 * math.log(2)) for d in table.domains]
    assert judged.comparisons[0].difference == pytest.approx(np.mean(of_all))


def parts(seeds: float, documents: float = 0.0, freedom: float = 2.0) -> Parts:
    return Parts(np.array(seeds), freedom, np.array(documents), 30.0)


def test_7_seeds_are_a_median_and_a_limit() -> None:
    """The old promise multiplied the variance of three seeds by 4.4 and called that "about"."""
    told = needed(parts(0.0001**1 / 3), 3, 0.05, 0.01, bits=1.0, candidates=2)
    assert told is not None
    assert told.seeds is not None
    assert told.at_most is not None
    assert told.seeds < told.at_most
    assert (
        told.words() == f"With these steps, to prove 1 % takes about {told.seeds} seeds (80 %: at most {told.at_most})."
    )
    # variance 1e-4, with 2 degrees the median estimate is 0.693 of the truth: (1.7 + 0.84)^2 x 1.44 is 9 to 11
    assert 8 <= told.seeds <= 12
    sure = needed(parts(0.0001 / 3, freedom=200.0), 3, 0.05, 0.01, bits=1.0, candidates=2)
    assert sure is not None
    assert sure.at_most is not None
    assert sure.at_most - (sure.seeds or 0) <= 1
    assert needed(parts(math.nan), 1, 0.05, 0.01, bits=1.0, candidates=2) is None


def test_8_documents_are_named_as_the_limit() -> None:
    """Seeds cannot help where documents leave 1 % open: so many times as many documents are needed."""
    told = needed(parts(1e-6, documents=1e-4), 3, 0.05, 0.01, bits=1.0, candidates=2)
    assert told is not None
    assert told.seeds is None
    assert told.documents == pytest.approx((1.645 + 0.842) ** 2, rel=0.01)
    assert "about 6 times as many validation documents" in told.words()


def test_9_one_target_decides_and_the_other_costs_nothing() -> None:
    """The first claim has the whole level, however many plain mixtures and averages are shown beside it."""
    few, many = (judge(world([50], effects), Terms()) for effects in ([-0.01, 0, 0], [-0.01, 0, 0, 0, 0]))
    for judged in (few, many):
        assert judged.claims[0].level == 0.05
        assert {one.family for one in judged.comparisons if one.target == "natural"} == {"average"}
        assert judged.claims[0].held


def test_10_lending_starts_before_variances_explode() -> None:
    """Bytes of 4000 and 215: one document among crumbs, whose squares were multiplied by 96."""
    random, large, crumbs = np.random.default_rng(0), [], []
    for _ in range(200):
        for sizes, kept in (((4000.0, 215.0), crumbs), ((4000.0, 4000.0), large)):
            size = np.array(sizes)
            nats = size * math.log(2) * (1 + 0.01 * random.standard_normal((2, 2)))
            kept.append(domain_documents(nats, size))
    assert all(np.isnan(one.spread).all() for one in crumbs)
    assert all(np.isfinite(one.spread).all() for one in large)
    assert np.isnan(document_noise(crumbs[:2]).of(np.full(2, 0.5))[0]).all()


def test_11_the_strongest_opponent_is_not_chosen_but_all_are_beaten() -> None:
    """The second claim is as weak as its weakest comparison, and shows the smallest lead."""
    judged = judge(world([50], [-0.02, 0, -0.005, -0.019]), Terms())
    first, second = judged.claims
    assert (first.held, second.held) == (True, False)
    assert second.p_value > first.p_value
    assert second.over == ("natural", "uniform", "plain-0")
    assert second.relative == pytest.approx(-0.001, abs=0.003)


def test_12_a_domain_has_an_interval_of_use() -> None:
    """The worst domain's interval was 17 bits wide on 3.77. Domains lend to each other, seeds and documents."""
    table, random = world([3] * 9, [-0.01, 0, 0], seeds=3, noise=0.0075), np.random.default_rng(0)
    own = [1 + 0.01 * random.standard_normal((3, 3, 1)) for _ in table.domains]
    domains = [replace(d, nats_CSD=d.nats_CSD * o) for d, o in zip(table.domains, own, strict=True)]
    rows = judge(replace(table, domains=tuple(domains)), Terms()).domains[0].domains
    for ends in ([row.level_interval for row in rows], [row.profile_interval for row in rows]):
        widths = [high - low for low, high in filter(None, ends)]
        assert len(widths) == 9
        assert max(widths) < 0.08
        assert max(widths) < 1.6 * min(widths)


def test_13_steps_to_baseline_have_an_interval_in_bits_of_the_target() -> None:
    step, level = np.array([50.0, 100.0, 150.0]), np.array([4.0, 3.5, 3.2])
    held = reached(step, level, 3.3, 0.06, 150)
    assert held.step == pytest.approx(100 + 50 * 2 / 3)
    assert (held.earliest, held.latest) == pytest.approx((100 + 50 * 0.14 / 0.3, 100 + 50 * 0.26 / 0.3))
    assert held.speedup == pytest.approx(150 / (100 + 100 / 3))
    assert reached(step, level, 3.3, 0.2, 150).latest is None  # it may not be reached within these steps
    one_seed = reached(step, level, 3.3, math.nan, 150)
    assert (one_seed.step, one_seed.earliest, one_seed.latest) == (held.step, None, None)
    assert reached(step, level, 3.0, 0.1, 150).speedup is None


def test_14_a_small_proven_gain_shows_its_sign() -> None:
    judged = judge(world([400], [-0.002, 0, 0.002], seeds=8, noise=0.0002), Terms(margin=0.005))
    told = {(c.candidate, c.opponent): (c.outcome, c.small) for c in judged.comparisons if c.target == "uniform"}
    assert told["doremi", "natural"] == ("win", True)
    assert told["uniform", "natural"] == ("loss", True)
    equal = judge(world([400], [0, 0, 0.05], seeds=8, noise=0.0005, seed=3), Terms(margin=0.005)).comparisons[0]
    assert (equal.outcome, equal.small) == ("tie", True)


def test_15_a_seed_that_served_the_search_is_flagged() -> None:
    table = world([50], [-0.03, 0, 0])
    assert judge(table, Terms()).without_lent == ()
    lent = replace(
        table, entrants=tuple(replace(e, lent=frozenset({0} if e.is_reference else ())) for e in table.entrants)
    )
    (shown,) = judge(lent, Terms()).without_lent
    assert (shown.candidate, shown.seeds) == ("doremi", (1, 2, 3, 4))
    fewer = judge(table.only(range(3), (1, 2, 3, 4)), Terms()).comparisons[0]
    assert shown.relative == pytest.approx(fewer.relative)
    assert shown.interval == pytest.approx([end / (fewer.difference / fewer.relative) for end in fewer.interval or ()])


def test_16_two_proxies_have_intervals_of_use() -> None:
    """Twelve domains and two proxies: t of one degree is 12.7, and intervals reached from 0 to 1."""
    random = np.random.default_rng(0)
    names = DomainSet([f"d{k}" for k in range(12)])
    base = np.linspace(1, 3, 12)
    both = [dict(zip(names, base * np.exp(0.2 * random.standard_normal(12)), strict=True)) for _ in range(2)]
    found = uncertainty(dict(enumerate(map(Mixture, both))), names, 0.95).interval
    assert found is not None
    assert all((high or 0) < 2.5 * (low or 0) for low, high in found.values())


def test_16_settled_is_judged_against_the_spread_of_proxies() -> None:
    """A mean known to 0.02 is good enough where two proxies differ by 0.22."""
    path = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((400, 1)) * [1, -1]
    assert "is needed" in judge_path(path).reason
    assert not whether_settled(path, steps=400, learning_rate=0.1).settled
    assert not whether_settled(path, steps=400, learning_rate=0.1, apart=0.02).settled
    assert whether_settled(path, steps=400, learning_rate=0.1, apart=0.22).settled
