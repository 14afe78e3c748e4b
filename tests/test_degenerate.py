"""Verdicts over inputs that hardly occur: no traceback, no claim that nothing shows, no number that is none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doremi.corpus.pool import whole
from doremi.report.facts import read_facts
from doremi.report.forest import forest_figure, profile_figures
from doremi.report.judgement import claims_table
from doremi.report.notes import warnings
from doremi.rundir.layout import RunDirectory
from doremi.statistics.enough import enough
from doremi.statistics.judge import judge
from doremi.statistics.looks import Record
from doremi.statistics.setting import Terms
from doremi.statistics.table import DomainLosses, Entrant, Measurements, Role
from doremi.statistics.values import Judged
from doremi.verdict import Price, Verdict, format_table, write_verdict
from doremi.verdict.headline import headline
from doremi.verdict.held_out import held_out, too_few
from make_run import MadeRun, make_run
from test_statistics_errors import NAMES, entrant
from tolerances import FLOAT64
from verdicts import verdict_over

PRICE = Price("runs/demo", 600.0)


def table(bits_CSK: np.ndarray, documents: int = 10, spread: float = 0.0) -> Measurements:
    """Documents of 1,000 bytes with these bits per byte; `spread`: by how much a document suits one candidate more."""
    random, (candidates, seeds, domains) = np.random.default_rng(0), bits_CSK.shape
    size = np.full(documents, 1000.0)
    losses = []
    for k in range(domains):
        own = 1 + spread * random.standard_normal((candidates, 1, documents))
        nats_CSD = size * math.log(2) * bits_CSK[:, :, k, None] * own
        losses.append(DomainLosses(f"d{k}", 1 / domains, size, nats_CSD))
    entrants = tuple(entrant(name, "found" if name == "doremi" else "plain", domains) for name in NAMES)
    return Measurements(entrants[:candidates], tuple(range(seeds)), tuple(losses))


def noisy(shape: Sequence[int], effects: Sequence[float], noise: float = 0.002) -> np.ndarray:
    """Bits per byte `[C, S, K]` about 3."""
    run = noise * np.random.default_rng(1).standard_normal((*shape[:2], 1))
    return 3 * (1 + run + np.array(effects)[:, None, None]) * np.ones(shape)


def told(judged: Judged) -> str:
    """As plain values, in which every number is one."""
    return json.dumps(asdict(judged), allow_nan=False, default=str)


ALIKE = 0.1 * np.ones((3, 3, 2)) * np.array([0.99, 1.0, 1.01])[:, None, None]
SHIFTED = 3 * np.ones((3, 2, 2)) * np.array([0.99, 1.0, 1.01])[:, None, None] + np.array([0.0, 0.02])[None, :, None]


@pytest.mark.parametrize("bits", [ALIKE, SHIFTED], ids=["all alike", "shifted alike"])
@pytest.mark.parametrize(("documents", "spread"), [(1, 0.0), (10, 0.0), (10, 0.003)])
def test_seeds_that_are_alike_show_no_noise_and_prove_nothing(bits: np.ndarray, documents: int, spread: float) -> None:
    """Rounding leaves variances of 1e-34, and a p-value of 1e-38 with them."""
    judged = judge(table(bits, documents, spread if bits is ALIKE else 0.0), Terms())
    assert not any(claim.held for claim in judged.claims)
    assert {claim.p_value for claim in judged.claims} == {1.0}
    assert {(one.interval, one.outcome) for one in judged.comparisons} == {(None, "undecided")}
    assert {one.at_most for one in judged.choices["uniform"]} == {None}
    assert (judged.noise, judged.settle, judged.document_share) == (None, None, None)
    assert "The seeds are alike and show no noise. doremi has the fewest bits per byte." in judged.recommended.reason
    told(judged)


def test_what_is_said_of_seeds_that_are_alike(tmp_path: Path) -> None:
    root = make_run(tmp_path / "run", MadeRun(seeds=(0, 1)))
    run = RunDirectory(root)
    for name in NAMES:
        first, second = (run.main("tiny", name, seed).folder / "evaluation.documents.f64" for seed in (0, 1))
        second.write_bytes(first.read_bytes())
    verdict = verdict_over(run, NAMES)
    _, better, settle = headline(verdict, PRICE)
    assert "The seeds show no noise, which gives no range." in better
    assert settle == "The seeds show no noise, so nothing can be proved of doremi."
    assert "There are no intervals, as the seeds show no noise." in " ".join(format_table(verdict, PRICE).split())


def test_documents_are_counted_where_seeds_are_alike() -> None:
    """No noise asks for no more documents, and does not turn into one that nothing satisfies."""
    assert enough(table(ALIKE, 64).only((0, 1), (0, 1, 2)), (1000, 1000), 3) == (64, 64)


def test_one_domain_moves_no_loss(tmp_path: Path) -> None:
    judged = judge(table(noisy((3, 3, 1), [-0.02, 0, 0.01])), Terms())
    for one in judged.domains:
        assert [row.profile_interval for row in one.domains] == [None]
        assert [row.level_interval for row in one.domains] != [None]
    assert judged.domains[0].words == (
        "There is one domain, so doremi moves no loss from one to another. The mean over domains gains."
    )
    root = make_run(tmp_path / "run", MadeRun(domains=("web",), seeds=(0, 1, 2)))
    write_verdict(root, verdict_over(RunDirectory(root), NAMES))
    assert profile_figures(read_facts(RunDirectory(root))) == []


@pytest.mark.parametrize("level", [0.0, 1e-12])
def test_a_domain_without_any_loss_counts_as_one_in_which_nothing_differs(level: float) -> None:
    bits = noisy((3, 3, 3), [-0.02, 0, 0.01]) * np.array([1.0, 1.0, level])
    with np.errstate(all="raise"):
        judged = judge(table(bits, spread=0.002), Terms())
    assert [claim.held for claim in judged.claims] == [True, True]
    told(judged)


def test_candidates_without_any_loss_are_alike() -> None:
    nothing = table(np.zeros((3, 2, 2)))
    method = replace(nothing.entrants[0], name="doremi-per-seed", role="per-seed")
    judged = judge(replace(nothing, entrants=(method, *nothing.entrants[1:])), Terms())
    assert {one.relative for one in judged.comparisons} == {0}
    told(judged)


def test_losses_that_are_a_million_times_apart() -> None:
    bits = noisy((3, 3, 3), [-0.02, 0, 0.01]) * np.array([1e-3, 1.0, 1e3])
    judged = judge(table(bits, spread=0.002), Terms())
    assert judged.claims[0].relative == pytest.approx(-0.02, abs=0.005)
    assert all(row.level == pytest.approx(-0.02, abs=0.01) for row in judged.domains[0].domains)
    told(judged)


@pytest.mark.parametrize("seeds", [2, 3])
def test_one_domain_of_one_document(seeds: int) -> None:
    judged = judge(table(noisy((3, seeds, 1), [-0.2, 0, 0]), documents=1), Terms())
    assert all(one.interval == one.fixed for one in judged.comparisons)
    assert judged.document_share is None
    told(judged)


def test_with_one_seed_the_fewest_bits_are_of_those_that_may_be_used() -> None:
    one = table(noisy((3, 1, 2), [0, -0.02, 0.01]))
    entrants = tuple(replace(e, allowed=not e.is_reference) for e in one.entrants)
    reason = judge(replace(one, entrants=entrants), Terms()).recommended.reason
    assert "doremi has the fewest bits per byte of those within the limits." in reason
    only = tuple(replace(e, allowed=e.name == "uniform") for e in one.entrants)
    assert (
        "uniform is the only candidate that may be used."
        in judge(replace(one, entrants=only), Terms()).recommended.reason
    )


def test_of_equals_the_data_as_it_is_stays() -> None:
    """Two mixtures may have one mean and other domains: nobody needs to change anything then."""
    bits = np.array([[1.0, 1.5], [1.5, 1.0], [2.0, 2.0]])[:, None, :] * np.array([1.0, 1.01, 1.02])[None, :, None]
    bits[2, 1] += 0.01  # a little noise
    assert judge(table(bits), Terms()).recommended.mixture == "natural"


def test_a_look_that_nobody_planned_has_no_limits_in_its_reason() -> None:
    one = table(noisy((3, 4, 2), [-0.05, 0, 0.01]))
    assert "(95 %)" in judge(one, Terms()).recommended.reason
    assert "%)" not in judge(one, Terms(exploratory="This look was not planned.")).recommended.reason


@pytest.mark.parametrize(("factors", "sure", "unsure"), [
    ((0.95, 1.05, 1), "doremi surely moves loss from d0 to d1.", "doremi seems to move loss from d0 to d1."),
    ((0.995, *[1] * 7), "doremi surely does better in d0", "doremi seems to do better in d0"),
])  # fmt: skip
def test_a_look_that_nobody_planned_is_not_sure_of_domains(factors: Sequence[float], sure: str, unsure: str) -> None:
    one = table(noisy((3, 4, len(factors)), [0, 0, 0.01], noise=0.0005), documents=64, spread=0.004)
    moved = tuple(
        replace(d, nats_CSD=d.nats_CSD * np.array([f, 1, 1])[:, None, None])
        for d, f in zip(one.domains, factors, strict=True)
    )
    for terms, words in ((Terms(), sure), (Terms(exploratory="This look was not planned."), unsure)):
        said = judge(replace(one, domains=moved), terms).domains[0].words
        assert words in said


@pytest.mark.parametrize("seed", range(60))
def test_no_table_makes_a_number_that_is_none_or_a_claim_that_nothing_shows(seed: int) -> None:
    """One to six candidates, seeds and domains, no noise and much, losses of nothing and of a lot."""
    one = any_table(np.random.default_rng(seed))
    unplanned = "This look was not planned." if seed % 5 == 0 else None
    terms = Terms(("uniform", "natural")[seed % 2], (0.05, 0.0175, 0.4)[seed % 3], exploratory=unplanned)
    with np.errstate(all="raise", under="ignore"):
        judged = judge(one, terms)
    told(judged)
    chosen = next(e for e in one.entrants if e.name == judged.recommended.mixture)
    assert chosen.allowed
    assert chosen.role != "per-seed"
    held = [claim for claim in judged.claims if claim.held]
    assert all(claim.relative < 0 <= (claim.at_least or 0) + FLOAT64 for claim in held)
    assert not held or (len(one.seeds) > 1 and unplanned is None)
    assert judged.recommended.proved == any(claim.candidate == chosen.name for claim in held)
    for row in judged.comparisons:
        low, high = row.interval or (row.difference, row.difference)
        assert low - FLOAT64 <= row.difference <= high + FLOAT64
    for choice in (*judged.choices["uniform"], *judged.choices["natural"]):
        assert min(choice.expected or 0, choice.at_most or 0) >= 0


def any_table(random: np.random.Generator) -> Measurements:
    candidates, seeds, domains = (int(n) for n in random.integers(1, 7, 3))
    noise, of_documents = 10 ** random.uniform(-8, 0.3), 10 ** random.uniform(-6, 0) * random.integers(2)
    effects = random.choice([0, 1e-9, 1e-3, 0.02, 0.5], candidates) * random.choice([-1, 1], candidates)
    run = np.exp(noise * random.standard_normal((candidates, seeds, 1)) * (random.random() > 0.1))
    losses = []
    for k in range(domains):
        count = int(random.choice([1, 2, 3, 10, 60]))
        size = np.round(10 ** random.uniform(0, 5, count))
        own = np.exp(of_documents * random.standard_normal((candidates, 1, count)))
        level = 10 ** random.uniform(-4, 3) * (random.random() > 0.1)
        nats_CSD = size * level * (1 + effects[:, None, None]) * run * own
        losses.append(DomainLosses(f"d{k}", float(10 ** random.uniform(-6, 0)), size, nats_CSD))
    entrants = [entrant("natural", domains=domains)]
    for i in range(1, candidates):
        role: Role = ("found", "plain", "per-seed", "found")[int(random.integers(4))]
        weights, method = tuple(random.dirichlet(np.ones(domains)).tolist()), f"m{random.integers(2)}"
        entrants.append(Entrant(f"c{i}", role, weights, method, allowed=bool(random.random() > 0.1)))
    return Measurements(tuple(entrants), tuple(range(seeds)), tuple(losses))


def changed(root: Path, **made: Any) -> Verdict:
    seeds = made.pop("seeds", (0, 1, 2, 3))
    rules = {key: made.pop(key) for key in ("record", "looks") if key in made}
    run = RunDirectory(make_run(root / "run", MadeRun(seeds=seeds, **made)))
    return verdict_over(run, list(MadeRun(**made).effect), seeds=seeds, **rules)


def test_after_an_unplanned_look_the_command_is_told(tmp_path: Path) -> None:
    record = Record("once").with_look((0, 1, 2))
    verdict = changed(tmp_path, record=record)
    assert headline(verdict, PRICE)[2] == (
        "This look was not planned, so it settles nothing. A run of its own can do it, 40 min and its search: "
        "`doremi run runs/demo --set name=NEW --set seed=4 --set candidates.seeds=4`."
    )
    said = format_table(verdict, PRICE)
    assert "This look was not planned. Its ranges and limits are estimates" in said
    write_verdict(tmp_path / "run", verdict)
    assert next(heading for heading, _ in warnings(read_facts(RunDirectory(tmp_path / "run")))) == "Exploratory"
    planned = verdict.model_copy(update={"looks": "planned"})
    assert headline(planned, PRICE)[2].endswith(
        "The plan's look at 5 can do it, 10 min: `doremi run runs/demo --until decided`."
    )


def test_a_claim_is_told_once_where_the_reference_is_the_only_plain_mixture(tmp_path: Path) -> None:
    verdict = changed(tmp_path, effect={"doremi": -0.02, "natural": 0.0})
    assert len(verdict.claims) == 2
    assert [one.over for one in verdict.told_claims()] == [("natural",)]
    assert format_table(verdict, PRICE).count("doremi is better than natural ") == 1
    lost = changed(tmp_path / "lost", effect={"doremi": 0.02, "natural": 0.0})
    assert [one.tested for one in lost.told_claims()] == [True]
    write_verdict(tmp_path / "lost/run", lost)
    claims = claims_table(read_facts(RunDirectory(tmp_path / "lost/run")))
    assert claims is not None
    assert [row[1].text for row in claims.rows] == ["not proved"]


def test_rows_of_which_nothing_is_claimed_are_marked(tmp_path: Path) -> None:
    effect = {"doremi": -0.02, "fitted": -0.01, "natural": 0.0, "uniform": 0.01, "doremi-per-seed": 0.0}
    verdict = changed(tmp_path, effect=effect, found={"doremi": "doremi", "fitted": "fitted"})
    rows = [line for line in format_table(verdict, PRICE).splitlines() if " vs " in line]
    marked = {line.split("  ")[0] for line in rows if line.endswith("  shown only")}
    assert marked == {"fitted vs doremi", "uniform vs natural", "doremi-per-seed vs natural"}
    assert len(rows) == 7
    write_verdict(tmp_path / "run", verdict)
    forest = forest_figure(read_facts(RunDirectory(tmp_path / "run")))
    assert forest is not None
    on_page = {row[0].text for row in forest.table.rows if row[0].small == "shown only, nothing is claimed"}
    assert on_page == {name.replace(" vs ", " against ") for name in marked}


def test_huge_shares_of_documents_are_not_told_to_the_last_digit(tmp_path: Path) -> None:
    verdict = changed(tmp_path)
    part = whole(RunDirectory(tmp_path / "run").corpus())
    for share, words in (
        (0.8, "80% of the noise"),
        (12.4, "12 times the noise"),
        (4e5, "more than 1000 times the noise"),
    ):
        said = too_few(verdict.model_copy(update={"held_out": held_out(part, part, share)})) or ""
        assert f"still add {words} that seeds make" in said
        assert ("More than 1000 times as many" in said) == (share > 250)
