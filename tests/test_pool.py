"""How many held-out documents judge: the part in use, how it is chosen, and models that are evaluated on more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import load
from doremi.corpus.pool import FIRST, first, first_tokens, in_use, whole
from doremi.pipeline import evaluating
from doremi.rundir.held_out import largest
from doremi.rundir.layout import RunDirectory
from doremi.rundir.part import nats_on, read_part
from doremi.statistics.enough import enough, noise_of
from doremi.statistics.table import DomainLosses, Entrant, Measurements
from graphs import corpus as made_up
from make_run import MadeRun, make_run
from tiny import write_corpus, write_tiny
from tolerances import FLOAT32, FLOAT64
from verdicts import verdict_over

# -- the order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", [[1, 0] * 50, [1] * 99 + [0], [0] * 10 + [1] * 90, [1, 0], [0]])
def test_a_larger_part_holds_every_smaller_one_and_both_halves(report: list[int]) -> None:
    halves, before = np.array(report, bool), np.zeros(len(report), bool)
    for number in range(1, len(report) + 1):
        now = in_use(halves, number)
        assert now.sum() == number
        assert (before & ~now).sum() == 0
        assert number < 2 or set(halves[now]) == set(halves)
        before = now


def test_a_part_is_spread_over_the_pool_and_halves_alike() -> None:
    halves = np.arange(1000) % 4 == 0
    chosen = np.flatnonzero(in_use(halves, 100))
    assert halves[chosen].sum() == 25
    assert np.histogram(chosen, 4, (0, 1000))[0].min() > 12
    assert chosen[:5].tolist() == [2, 4, 32, 33, 41]  # the same on every machine, for ever


def test_what_a_training_is_evaluated_on() -> None:
    few = made_up()
    assert first(few) == whole(few) == (10, 10, 10)
    assert first_tokens(few) == few.count("validation", "tokens")
    web = few.entries["web"]
    many = replace(few, entries={**few.entries, "web": replace(web, validation=replace(web.validation, documents=640))})
    assert first(many) == (FIRST, 10, 10)
    assert first_tokens(many) == [100, 1000, 1000]


# -- how many are enough -----------------------------------------------------------------------------------------------


def table(seed_noise: float, documents: int = 64, domains: int = 3, document_noise: float = 0.05) -> Measurements:
    """Two candidates with two seeds whose difference has these standard deviations, seeds' by domain alike."""
    rng = np.random.default_rng(5)
    made = []
    for k in range(domains):
        size = np.full(documents, 100.0)
        level = 100 + document_noise * 100 * np.array([0.5, -0.5])[:, None, None] * rng.standard_normal(documents)
        seeds = seed_noise * 100 * np.array([[0.5, -0.5], [-0.5, 0.5]])
        made.append(DomainLosses(str(k), 1 / domains, size, level + seeds[:, :, None]))
    return Measurements((Entrant("a", "plain", ()), Entrant("b", "plain", ())), (0, 1), tuple(made))


def variances(seed_noise: float, documents: int = 64) -> tuple[float, float]:
    """Of the difference with two seeds, as it is put in: seeds', and documents' on average."""
    level = 1 / np.log(2)
    return (2 * seed_noise * level) ** 2 / 2 / 2, (0.05 * level) ** 2 / documents / 3


def test_the_noise_that_was_put_in_is_seen() -> None:
    seen, (seeds, documents) = noise_of(table(0.01), "uniform", 2), variances(0.01)
    assert seen.seeds == pytest.approx(seeds, rel=FLOAT64)
    assert seen.documents_K.sum() == pytest.approx(documents, rel=0.2)
    assert noise_of(table(0.01), "uniform", 8).seeds == pytest.approx(seeds / 4, rel=FLOAT64)


def test_as_many_documents_as_keep_their_variance_at_a_quarter() -> None:
    one = table(0.004)
    noise = noise_of(one, "uniform", 3)
    times = noise.documents_K.sum() / (0.25 * noise.seeds)
    assert 2 < times < 10
    assert enough(one, (10_000,) * 3, 3) == (int(np.ceil(64 * times)),) * 3
    assert enough(one, (10_000,) * 3, 12)[0] == pytest.approx(4 * 64 * times, abs=2)  # more seeds show smaller things
    assert enough(table(1.0), (10_000,) * 3, 3) == (64, 64, 64)


def test_a_small_pool_is_used_whole_and_the_others_make_up_for_it() -> None:
    alone, short = (enough(table(0.004), pool, 3) for pool in ((10_000,) * 3, (10_000, 10_000, 70)))
    assert short[2] == 70
    assert short[0] > alone[0]
    assert enough(table(1e-6), (100, 200, 70), 3) == (100, 200, 70)  # not enough, and all there is


def test_trainings_that_are_alike_tell_no_noise_and_ask_for_no_more() -> None:
    one = table(0.01, document_noise=0.0)
    same = replace(one, domains=tuple(replace(d, nats_CSD=np.ones_like(d.nats_CSD)) for d in one.domains))
    assert enough(same, (10_000,) * 3, 3) == (64, 64, 64)


def test_seeds_that_agree_by_luck_do_not_ask_for_everything() -> None:
    """The domains' noise cancels in the mean: it counts as it would if they varied by themselves."""
    one = table(0.01, domains=2)
    turned = one.domains[1].nats_CSD[:, ::-1] - one.domains[1].nats_CSD.mean(axis=1, keepdims=True)
    lucky = replace(one.domains[1], nats_CSD=one.domains[1].nats_CSD.mean(axis=1, keepdims=True) + turned)
    both = replace(one, domains=(one.domains[0], lucky))
    assert np.ptp((both.bits()[0] - both.bits()[1]).mean(axis=-1)) < FLOAT64
    assert noise_of(both, "uniform", 2).seeds == pytest.approx(noise_of(one, "uniform", 2).seeds / 2, rel=FLOAT64)


# -- the verdict -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "short"), [(0.05, False), (1e-5, True)])
def test_the_verdict_says_by_how_much_held_out_text_is_too_little(tmp_path: Path, noise: float, short: bool) -> None:
    run = RunDirectory(make_run(tmp_path / "run", MadeRun(noise=noise)))
    verdict = verdict_over(run, ["doremi", "natural", "uniform"], seeds=(0, 1))
    held = verdict.held_out
    assert held is not None
    assert held.documents == held.pool == (40, 40, 40)
    assert held.share is not None
    assert (held.share > 0.25, held.times is not None) == (short, short)
    if held.times is not None:
        assert held.times == pytest.approx(held.share / 0.25)


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_run_whose_first_documents_are_too_few_evaluates_on_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_corpus(tmp_path / "text", documents=200)
    held = {"validation_max_tokens": 60_000, "validation_fraction": 0.5}
    path = write_tiny(
        tmp_path / "tiny.yaml", text, tmp_path / "runs", data=held,
        candidates={"mixtures": ["uniform", "natural"], "seeds": 2}, training={"steps": 4, "evaluate_every": 4},
    )  # fmt: skip
    monkeypatch.setattr("doremi.statistics.enough.SHARE", 0.0025)  # documents of one kind differ little
    result = CliRunner().invoke(app, ["run", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    run = RunDirectory(tmp_path / "runs/tiny")
    corpus, nodes = run.whole_corpus(), run.nodes()
    assert min(whole(corpus)) > FIRST
    judge = nodes.find("validation")[0]
    record = read_part(run.place(str(judge.place)))
    assert (record.first, record.pool) == ((FIRST,) * 3, whole(corpus))
    assert record.documents == largest([record.documents, record.first])
    assert max(record.documents) > FIRST
    verdict = json.loads((run.root / "verdict.json").read_text())
    assert verdict["held_out"]["documents"] == list(record.documents)
    folder = run.main("custom", "uniform", 1)
    assert folder.evaluated_documents(corpus) == (FIRST,) * 3
    assert [len(one) for one in nats_on(folder, corpus, record.documents)] == list(record.documents)
    before = {p: p.stat().st_mtime_ns for p in (run.root / "trainings").rglob("*") if p.is_file()}

    # the same code as after a training: on the same documents, the same losses
    with monkeypatch.context() as other:
        other.setattr(evaluating.EvaluationSpec, "file", "again.f64")
        _evaluate_again(path, folder.stage()["key"], record.first)
    again, own = np.fromfile(folder.folder / "again.f64"), folder.document_nats()
    assert again == pytest.approx(own, rel=FLOAT32)

    # a third seed judges anew what is needed, and trains itself alone
    more = CliRunner().invoke(app, ["run", str(path), "--set", "candidates.seeds=3"], catch_exceptions=False)
    assert more.exit_code == 0
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    verdict = json.loads((run.root / "verdict.json").read_text())
    judge = run.nodes().find("validation")[0]
    assert read_part(run.place(str(judge.place))).key != record.key
    assert verdict["held_out"]["documents"] == list(read_part(run.place(str(judge.place))).documents)


def _evaluate_again(path: Path, key: str, part: tuple[int, ...]) -> None:
    import torch

    from doremi.distributed import World
    from doremi.pipeline.work import plan_now
    from doremi.pipeline.workspace import open_workspace
    from doremi.rundir.context import Context
    from doremi.rundir.specs import EvaluationSpec
    from tiny import Silent

    with open_workspace(load(path), World(0, 1, torch.device("cpu")), Silent()) as space:
        corpus = space.directory.whole_corpus()
        settings = Context(space.config, plan_now(space, corpus).known).settings
        assert settings is not None
        evaluating.evaluate(space, corpus, EvaluationSpec(key, part), settings, "again")
