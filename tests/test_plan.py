"""The plan of a tiny run against that run: operations, disk and epochs to the last digit; and what it says in words."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from doremi.cli import commands as cli
from doremi.cli.jobs import jobs_table
from doremi.cli.status import describe
from doremi.config import RunConfig, TrainingConfig
from doremi.corpus.kept import keep
from doremi.corpus.manifest import TokenizerEntry
from doremi.corpus.prepare import prepare
from doremi.corpus.survey import survey
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import ConfigError, DataError, MixtureError, TrainingError
from doremi.evaluation.perplexity import ValidationSet
from doremi.events.words import duration as duration_in_words
from doremi.executors.choose import chosen
from doremi.files import cache_folder, size_in_words
from doremi.mixture.record import MixtureRecord, write_record
from doremi.model import build as model
from doremi.model.operations import of_model
from doremi.model.presets import shape
from doremi.pipeline import measured as measured_here
from doremi.pipeline import preparing
from doremi.pipeline.driver import complete, drive, settle
from doremi.pipeline.host import this_host
from doremi.pipeline.run import candidates, search
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.plan import calibration, kept, plan, preparation
from doremi.plan.calibration import Measured
from doremi.plan.estimate import estimated
from doremi.plan.savings import savings
from doremi.plan.stages import Stage
from doremi.plan.table import duration, text
from doremi.plan.whole import as_trained_on, whole_run
from doremi.rundir.data_request import prepare_request
from doremi.rundir.graph import Graph
from doremi.rundir.known import Counts
from doremi.rundir.layout import RunDirectory
from doremi.rundir.specs import MixtureSpec, TrainingSpec
from doremi.rundir.weights import allowed, plain_record
from doremi.statistics.needed import Needed
from graphs import corpus as numbers
from tiny import DOMAINS, Silent, tiny_config, write_corpus
from tolerances import FLOAT64

WORLD = World(0, 1, torch.device("cpu"))
RUN_TOKENS = 20 * 8 * 16  # of one tiny training
NUMBERS = (".bin", ".ends", ".documents", ".safetensors", ".f32", ".f64", ".f16")
TIMES = Measured(loading=5.0, once=2.0, start=1.0, step=0.1, evaluation=0.01, saving=0.5, losses=0.25, memory=10**9)


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("plan") / "corpus")


def whole(config: RunConfig) -> Graph:
    return whole_run(config, as_trained_on(config, RunDirectory(config.root).whole_corpus()), WORLD)


def stages(config: RunConfig) -> list[Stage]:
    return plan.stages(config, whole(config))


def counted_run(space: Workspace) -> dict[str, int]:
    """Operations of a whole search and its candidates, as they are computed."""
    settle(space, preparing.prepare(space), this_host())  # on tensors without data, once: that is no work of the run
    found = {}
    for name, work in {
        "reference": lambda: search(space, chosen, references_only=True),
        "losses": lambda: drive(space, chosen, lambda node: node.kind == "losses"),
        "proxy": lambda: search(space, chosen),
        "main": lambda: candidates(space, chosen),
    }.items():
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as operations:
            work()
        found[name] = operations.get_total_flops()
    return found


# a counted step takes three times as long as another; the last checkpoint and evaluation stay off the beat
SHORT = {"steps": 3, "evaluate_every": 2, "checkpoint_every": 2}
RUNS: dict[str, dict[str, Any]] = {
    "plain": {"training": SHORT},
    "equal compute": {
        "training": SHORT,
        "proxy": {"seeds": 2},
        "candidates": {
            "seeds": 2,
            "mixtures": ["doremi", "doremi-per-seed", "reference", "uniform", "unimax"],
            "equal_compute": True,
        },
    },
    "stored": {
        "reference": {"losses": "stored"},
        "training": {**SHORT, "accumulation": 2, "batch_size": 32},
        "candidates": {"mixtures": ["doremi", "doremi-per-seed"]},
    },
    "epoch matched": {
        "data": {"epoch_matched": True},
        "budget_tokens": 20 * RUN_TOKENS,
        "candidates": {"mixtures": ["doremi", "uniform"]},
    },
    "seeds": {
        "training": {**SHORT, "accumulation": 2, "optimizer": "adafactor"},
        "proxy": {"seeds": 2, "variant": "official"},
        "candidates": {"seeds": 3, "mixtures": ["doremi", "natural", "temperature"]},
    },
}


@pytest.mark.parametrize("name", list(RUNS))
def test_operations_and_disk_are_those_of_the_run(
    name: str, text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a row or two through each new model: not counted (docs/scaling.md)
    for trial in ("check_prediction", "is_linear", "without_mask"):
        monkeypatch.setattr(model, trial, lambda *_: False)
    config = tiny_config(tmp_path, text_folder, **RUNS[name])
    with open_workspace(config, WORLD, Silent()) as space:
        computed = counted_run(space)
    planned = stages(config)
    operations: dict[str, int] = dict.fromkeys(computed, 0)
    for stage in planned:
        operations[stage.role if stage.role in operations else "main"] += stage.operations
    if config.training.optimizer != "adafactor":  # has matrix products of its own, which are not the model's
        assert operations == computed
    files = [p for p in Path(config.runs).rglob("*") if p.suffix in NUMBERS and not p.is_symlink()]
    assert plan_of(config, planned).disk == sum(p.stat().st_size for p in files)
    assert sum(stage.trainings for stage in planned) == len(list(config.root.rglob("stage.json")))
    assert [stage.left for stage in planned] == [()] * len(planned)


def plan_of(config: RunConfig, planned: list[Stage]) -> plan.Plan:
    measured = {(stage.kind, stage.size): TIMES for stage in planned}
    return plan.Plan(config, whole(config), planned, WORLD.device, measured, None, "custom", 10**9)


@pytest.fixture(scope="module")
def prepared(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run directory with nothing but its corpus."""
    config = tiny_config(tmp_path_factory.mktemp("prepared"), text_folder)
    with open_workspace(config, WORLD, Silent()) as space:
        preparing.prepare(space)
    return config


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurement, the same figures for everything."""
    monkeypatch.setattr(calibration, "measure", lambda *_: TIMES)


def changed(config: RunConfig, **sections: dict[str, Any]) -> RunConfig:
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=value) for name, value in sections.items()}
    )


def make(config: RunConfig, final_size: str | None = None) -> plan.Plan:
    return plan.make(config, final_size, lambda message: None)


@pytest.mark.usefixtures("instant")
def test_epochs_are_those_of_the_mixtures(prepared: RunConfig) -> None:
    config = changed(prepared.model_copy(update={"budget_tokens": 10**6}), limits={"max_weight": 0.5})
    found, corpus = plan.epochs(make(config)), RunDirectory(config.root).whole_corpus()
    assert list(found) == ["natural", "uniform"]
    for name in found:
        record = plain_record(config, corpus, name, {})
        assert record.domains is not None
        assert found[name] == [record.domains[domain].epochs for domain in corpus.domains]


@pytest.mark.usefixtures("instant")
def test_epochs_of_all_mixtures_that_are_known(
    prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, published weights, the reference mixture, and DoReMi's where the run has it: all within limits."""
    shutil.copytree(prepared.root, tmp_path / "tiny")
    weights = {
        "doremi": {"prose": 0.7, "code": 0.2, "digits": 0.1},
        "mine": {"prose": 0.1, "code": 0.4, "digits": 0.5},
        "theirs": {"prose": 0.25, "code": 0.25, "digits": 0.5},
    }
    published = {"theirs": {"weights": weights["theirs"], "source": "a test"}}
    monkeypatch.setattr("doremi.mixture.published._all", lambda: published)
    mine, gone = str(tmp_path / "mine.json"), str(tmp_path / "gone.json")
    Path(mine).write_text(json.dumps(weights["mine"]))
    config = changed(
        prepared.model_copy(update={"runs": str(tmp_path), "budget_tokens": 10**6}), limits={"max_weight": 0.5},
        reference={"mixture": "temperature"},
        candidates={"mixtures": ["doremi", "doremi-per-seed", mine, gone, "theirs"]},
    )  # fmt: skip
    made = make(config)
    assert list(plan.epochs(made)) == ["natural", "uniform", "temperature", "mine", "theirs"]
    note = f"note: {gone} is not there yet. It is counted as a mixture of its own, and its epochs are not shown"
    assert note in text(made)
    assert made.stages[-1].number == 4  # doremi is doremi-per-seed of its one proxy
    keep_mixture(made, weights["doremi"])
    made = make(config)
    found = plan.epochs(made)
    assert list(found) == ["doremi", "natural", "uniform", "temperature", "mine", "theirs"]
    weights["doremi"] = {"prose": 0.5, "code": 0.5 * 2 / 3, "digits": 0.5 / 3}  # max_weight takes from prose
    tokens = RunDirectory(config.root).whole_corpus().count("train", "tokens")
    for name, mixture in weights.items():
        passes = [mixture[domain] * 10**6 / count for domain, count in zip(DOMAINS, tokens, strict=True)]
        assert found[name] == pytest.approx(passes, rel=FLOAT64)
    head = next(line for line in text(made).splitlines() if line.startswith("epochs at the budget"))
    assert head.split()[4:] == ["tokens", *found]


def keep_mixture(made: plan.Plan, weights: dict[str, float]) -> None:
    """As the run keeps the mixture that it has found."""
    node = made.graph.node("doremi/mixture")
    spec = node.spec
    assert isinstance(spec, MixtureSpec)
    record = MixtureRecord(weights=weights, key=spec.key, version=spec.version)
    write_record(made.config.root / str(node.place), allowed(spec.limits, spec.budget, made.corpus, record))


@pytest.mark.usefixtures("instant")
def test_what_is_kept_is_an_estimate_until_it_is_chosen(prepared: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(prepared.root, tmp_path / "tiny")
    update = {"runs": str(tmp_path), "budget_tokens": 20 * RUN_TOKENS}
    config = changed(prepared.model_copy(update=update), data={"epoch_matched": True})
    before, corpus = make(config), RunDirectory(config.root).whole_corpus()
    assert before.estimated
    assert before.preparation is None
    page = text(before)
    assert re.search(r"^prepare +done +~\d+\.\d kB$", page, re.M)
    assert re.search(r"^corpus: 3 domains, [\d,]+ training tokens \(about [\d,]+ of them are trained on", page, re.M)
    assert re.search(rf"^prose +{corpus.count('train', 'tokens')[0]:,} ", page, re.M)  # epochs are of the whole corpus
    assert "note: not counted: seconds of choosing the documents" in page
    kept = keep(corpus, config.kept_share, full_check=False)
    after = make(config)
    assert not after.estimated
    assert "~" not in text(after)
    longest = [int(np.diff(np.fromfile(corpus.path(n, "train.ends"), "<u8"), prepend=0).max()) for n in DOMAINS]
    guesses = zip(*(made.corpus.training.count("train", "tokens") for made in (before, after)), strict=True)
    for (guess, found), most in zip(guesses, longest, strict=True):
        assert abs(guess - found) <= most / 2 + 1
    for made in (before, after):  # what is kept is seen more than once, the whole corpus is not
        assert [stage.kind for stage in made.stages][1] == "losses"
    files = [path for path in kept.folder.rglob("*") if path.suffix in NUMBERS]
    bare = replace(after, graph=replace(after.graph, known=replace(after.graph.known, corpus=corpus)))
    assert after.corpus_bytes - bare.corpus_bytes == sum(path.stat().st_size for path in files) > 0
    (kept.folder / "manifest.json").write_text(
        (kept.folder / "manifest.json").read_text().replace(corpus.fingerprint, "0" * 64)
    )
    assert make(config).estimated  # of another corpus: it will be chosen again


@pytest.mark.usefixtures("instant")
def test_too_little_to_keep_is_said(prepared: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(prepared.root, tmp_path / "tiny")
    update = {"runs": str(tmp_path), "budget_tokens": 200 * RUN_TOKENS}
    config = changed(prepared.model_copy(update=update), data={"epoch_matched": True})
    words = "epoch matching keeps 1/200 of each domain, which is under one batch"
    assert f"note: by these estimates the run will be refused: {words}" in text(make(config))
    keep(RunDirectory(config.root).whole_corpus(), config.kept_share, full_check=False)
    with pytest.raises(DataError, match=words):
        make(config)


@pytest.mark.usefixtures("instant")
def test_what_may_end_early_is_noted(prepared: RunConfig) -> None:
    assert not [note for note in make(prepared).notes if "are counted" in note]
    config = changed(prepared, proxy={"stop": "auto"}, rounds={"max": 2}, candidates={"equal_compute": True})
    rounds, proxy = (note for note in make(config).notes if "are counted" in note)
    assert rounds.startswith("at most 2 rounds ")
    assert "proxy.stop auto" in proxy
    assert all(note.endswith(", and training at equal compute is shorter then") for note in (rounds, proxy))
    alone = make(changed(prepared, proxy={"stop": "auto"})).notes
    assert any(note.endswith("With proxy.stop auto it ends once its weights have settled") for note in alone)


def test_what_a_process_pays_once(prepared: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries by the reference; graphs by the first training of a size; the reference's own graph by a proxy."""
    monkeypatch.setattr(
        calibration, "measure", lambda config, spec, *_: replace(TIMES, once=3.0 if spec.scoring else 2.0)
    )
    config = changed(
        prepared, model={"preset": "0.1m", "architecture": None, "options": {}},
        candidates={"sizes": ["0.1m", "0.3m"], "equal_compute": True},
    )  # fmt: skip

    def extra(config: RunConfig, first: int = 0) -> list[float]:
        made = make(config)
        made = replace(made, stages=made.stages[first:])
        free = replace(made, measured={key: replace(found, once=0.0) for key, found in made.measured.items()})
        return [(made.seconds(stage) or 0.0) - (free.seconds(stage) or 0.0) for stage in made.stages]

    assert extra(config) == pytest.approx([2, 1, 0, 0, 0, 0])
    assert extra(changed(config, training={"compile": True})) == pytest.approx([2, 1, 0, 2, 0, 0])
    stored = changed(config, reference={"losses": "stored"})
    assert extra(stored, 1) == pytest.approx([0, 3, 0, 0, 0, 0])  # another process has trained the references


@pytest.mark.usefixtures("instant")
def test_time_adds_up(prepared: RunConfig) -> None:
    """20 steps, evaluated at 10 and at the end in one batch each, saved at 6, 12, 18 and 20."""
    made = make(prepared)
    one = 1.0 + 20 * 0.1 + 2 * 0.01 + 4 * 0.5
    assert [made.seconds(stage) for stage in made.stages] == pytest.approx([2.0 + one, one, 2 * one])
    assert made.total_seconds() == pytest.approx(5.0 + 2.0 + 4 * one)
    stored = make(changed(prepared, reference={"losses": "stored"}))
    losses = stored.stages[1]
    assert (losses.kind, stored.seconds(losses)) == ("losses", pytest.approx(0.25 * losses.each.losses_batches))
    kept = made.stages[0].each.spare // 2  # three checkpoints lie there while the third is written
    assert made.most_disk == made.disk + 2 * kept


@pytest.mark.usefixtures("instant")
def test_who_is_trained_once(prepared: RunConfig) -> None:
    def mains(config: RunConfig) -> int:
        return stages(config)[-1].number

    assert mains(prepared) == 2  # natural is the reference
    assert mains(changed(prepared, candidates={"seeds": 3})) == 8  # of its one seed
    assert mains(changed(prepared, candidates={"seeds": 3}, proxy={"seeds": 2})) == 7
    assert mains(changed(prepared, limits={"max_weight": 0.4})) == 2  # limits leave the reference mixture as it is
    assert mains(changed(prepared, reference={"mixture": "uniform"})) == 2
    assert mains(changed(prepared, candidates={"sizes": ["0.1m"]})) == 3
    per_seed = {"mixtures": ["doremi", "doremi-per-seed"]}  # of one proxy they are the same, in whatever round
    assert [mains(changed(prepared, candidates=per_seed, rounds={"max": n})) for n in (1, 2)] == [1, 1]
    alone = {"mixtures": ["doremi"], "seeds": 3}  # the reference mixture is trained with each seed too
    assert mains(changed(prepared, reference={"mixture": "unimax"}, candidates=alone)) == 5
    assert stages(changed(prepared, rounds={"max": 3}, proxy={"seeds": 2}))[0].number == 6


@pytest.mark.usefixtures("instant")
def test_who_is_trained_at_equal_compute(prepared: RunConfig, tmp_path: Path) -> None:
    """UniMax is uniform at the tokens of one training, which stay its budget in longer ones. Natural is always in."""
    caps = 2500 / min(RunDirectory(prepared.root).whole_corpus().count("train", "tokens"))
    candidates = {"mixtures": ["doremi", "uniform", "unimax"], "equal_compute": True, "max_epochs": caps}
    config = changed(prepared, candidates=candidates)
    assert [stage.number for stage in stages(config)[-2:]] == [2, 2]
    given = config.model_copy(update={"budget_tokens": 4 * RUN_TOKENS})
    assert [stage.number for stage in stages(given)[-2:]] == [3, 3]
    later = changed(config, candidates={"mixtures": [*candidates["mixtures"], str(tmp_path / "later.json")]})
    assert [stage.number for stage in stages(later)[-2:]] == [3, 3]


def test_all_rounds_are_counted_at_most(prepared: RunConfig) -> None:
    """Each of six references and proxies takes 20 steps of 3 forward passes' worth, and one more from the proxy's."""
    config = changed(
        prepared, rounds={"max": 3}, proxy={"seeds": 2}, reference={"losses": "stored"},
        candidates={"equal_compute": True},
    )  # fmt: skip
    found = {stage.role: stage for stage in stages(config)}
    assert [(role, stage.number) for role, stage in found.items()] == [
        ("reference", 6), ("losses", 6), ("proxy", 6), ("main", 2), ("longer", 2),
    ]  # fmt: skip
    assert found["longer"].each.steps == 20 + 6 * 20 * (3 + 4) // 3
    each = {node.cost for node in found["losses"].nodes}
    assert len(each) == 1
    assert found["losses"].operations == 6 * next(cost.operations or 0 for cost in each if cost) > 0


@pytest.mark.usefixtures("instant")
def test_share_of_the_final_run(prepared: RunConfig) -> None:
    config = prepared.model_copy(update={"budget_tokens": 16_000_000})
    made = make(config)
    (counts,) = made.graph.known.counts.values()
    assert made.final_operations == (counts.training or 0) * 10**6
    assert made.final_size == "custom"
    sizes = make(changed(config, candidates={"sizes": ["1m", "0.1m"]}))
    assert sizes.final_size == "1m"
    assert make(config, "3m").final_operations > sizes.final_operations > made.final_operations
    assert "final run: 3m on 16,000,000 tokens" in text(make(config, "3m"))
    longer = make(changed(config, candidates={"equal_compute": True}))
    assert [stage.role for stage in longer.stages] == ["reference", "proxy", "main", "longer"]
    search = longer.stages[0].operations + longer.stages[1].operations
    shares = [f"{100 * part / longer.final_operations:.3g} %" for part in (search, longer.operations)]
    assert f"The search costs {shares[0]} of it, with all candidates {shares[1]}" in text(longer)


@pytest.mark.usefixtures("instant")
def test_what_would_make_it_cheaper(prepared: RunConfig) -> None:
    assert [s.change for s in savings(make(prepared))] == []
    costly = changed(
        prepared,
        proxy={"seeds": 4},
        candidates={"seeds": 5, "mixtures": ["doremi", "natural", "uniform", "temperature"], "sizes": ["0.3m", "1m"]},
        model={"preset": "0.3m", "architecture": None, "options": {}},
        training={"accumulation": 2, "evaluate_every": 1},
    )
    made = make(costly)
    found = {s.change: s for s in savings(made)}
    assert set(found) == {
        "training.evaluate_every=10", "candidates.sizes=[0.3m]", "candidates.seeds=3", "proxy.seeds=1",
        "candidates.mixtures=[doremi,natural,uniform]", "model.preset=0.1m candidates.sizes=[0.3m,1m]",
    }  # fmt: skip
    fewer = make(changed(costly, candidates={"seeds": 3}))
    saving = found["candidates.seeds=3"]
    assert saving.operations == pytest.approx(1 - fewer.operations / made.operations)
    assert saving.seconds == pytest.approx(1 - (fewer.total_seconds() or 0) / (made.total_seconds() or 1))
    three = {"seeds": 3, "mixtures": ["doremi", "doremi-per-seed", "natural"]}
    per_seed = {s.change for s in savings(make(changed(costly, candidates=three)))}
    assert "proxy.seeds=3" in per_seed  # fewer are refused
    assert "proxy.seeds=1" not in per_seed
    assert [s.operations for s in savings(made)] == sorted((s.operations for s in found.values()), reverse=True)


@pytest.mark.usefixtures("instant")
def test_the_table_says_all_of_it(prepared: RunConfig) -> None:
    made = make(prepared)
    page = text(made)
    assert page.isascii()
    rows = {line.split("  ")[0]: line for line in page.splitlines()}
    assert re.search(r"done +\d+\.\d kB$", rows["prepare"])
    one = r"^reference +1 +10,336 +19,936 +2,560 +1\.\d{4}e\+09 +7\.0 s +1\.0 GB +\d+\.\d kB$"
    assert re.search(one, rows["reference"])
    assert "= 2,560 tokens, 0.2 a body parameter of custom" in page
    assert "note: Models of size custom train on 0.2 tokens a body parameter, and 20 are usual." in page
    assert "noise: not known yet." in page
    assert re.search(r"^all +4 +10,240 .* 1\.0 GB ", rows["all"])
    assert all(name in rows for name in (*DOMAINS, "proxy", "main custom", "start"))
    assert "~" not in page


MIXED = {"mixtures": ["doremi", "doremi-per-seed", "reference", "uniform", "unimax"]}
AGREE: dict[str, dict[str, Any]] = {
    "plain": {},
    "rounds": {"rounds": {"max": 3}, "proxy": {"seeds": 2}, "reference": {"losses": "stored"}},
    "rounds of one proxy": {"rounds": {"max": 2}, "candidates": MIXED},
    "equal compute": {"proxy": {"seeds": 2}, "candidates": {**MIXED, "seeds": 2, "equal_compute": True}},
    "sizes": {"candidates": {"sizes": ["0.1m", "0.3m"], "seeds": 2}},
    "missing file": {"candidates": {"mixtures": ["doremi", "uniform", "gone.json"], "equal_compute": True}},
}


@pytest.mark.usefixtures("instant")
@pytest.mark.parametrize("name", [*AGREE, "epoch matched"])
def test_plan_and_jobs_list_the_same_trainings(name: str, prepared: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(prepared.root, tmp_path / "tiny")
    config = changed(prepared.model_copy(update={"runs": str(tmp_path)}), **AGREE.get(name, {}))
    if name == "epoch matched":
        config = changed(config.model_copy(update={"budget_tokens": 20 * RUN_TOKENS}), data={"epoch_matched": True})
    with open_workspace(config, WORLD, Silent()) as space:
        settle(space, preparing.prepare(space), this_host())
    rows = [line.split("  ") for line in jobs_table(config).splitlines()[1:-1]]
    states = {row[0]: " ".join(row[1:]).strip() for row in rows}
    other = {"prepare", "validation", "verdict", "mixture", "losses"}
    trained = [job for job, state in states.items() if not state.startswith("is ") and not other & {*job.split("/")}]
    planned = Counter(node.role for stage in stages(config) if stage.trainings for node in stage.nodes)
    assert len(trained) == planned.total()
    assert len([job for job in trained if "/proxy/" in job]) == planned["proxy"]
    assert len([job for job in trained if "-search/" in job]) == planned["longer"]


@pytest.mark.usefixtures("instant")
def test_what_is_done_and_what_is_left(prepared: RunConfig, tmp_path: Path) -> None:
    """All is what it was before the run began; left is the rest of it, and advice is about the rest."""
    shutil.copytree(prepared.root, tmp_path / "tiny")
    config = changed(prepared.model_copy(update={"runs": str(tmp_path)}), proxy={"seeds": 2}, training={"steps": 5})
    before = make(config)
    assert "left" not in text(before)
    assert {s.change for s in savings(before)} == {"proxy.seeds=1"}
    with open_workspace(config, WORLD, Silent()) as space:
        search(space, chosen, references_only=True)
        half = make(config)
        search(space, chosen)
        search_done = make(config)
        complete(drive(space, chosen))
    assert [(s.name, s.number, len(s.left)) for s in half.stages] == [
        ("reference", 2, 0), ("proxy", 2, 2), ("main custom", 2, 2),
    ]  # fmt: skip
    whole = [before.operations, before.disk, before.total_seconds(), before.total_memory()]
    for made in (half, search_done, make(config)):
        assert [made.operations, made.disk, made.total_seconds(), made.total_memory()] == whole
    assert half.rest().operations == before.operations - before.stages[0].operations
    seconds = 2 * (1.0 + 5 * 0.1 + 0.01 + 0.5)
    assert half.rest().total_seconds() == pytest.approx((before.total_seconds() or 0) - seconds)
    page = text(half)
    rows = {line.split("  ")[0]: line for line in page.splitlines()}
    assert re.search(r"^left +4 +2,560 +1\.\d{4}e\+09 ", rows["left"])
    assert rows["all"].split()[:3] == ["all", "6", "3,840"]
    assert "done: reference 2 of 2. What has only begun is left as a whole" in page
    assert {s.change for s in savings(half)} == {"proxy.seeds=1"}
    assert savings(search_done) == []  # the proxies are there
    assert savings(make(config)) == []
    assert re.search(r"^left +0 +0 ", text(make(config)), re.M)


@pytest.mark.usefixtures("instant")
def test_once_there_are_two_seeds_the_noise_is_told_with_its_time(prepared: RunConfig, monkeypatch) -> None:
    monkeypatch.setattr(plan, "first_noise", lambda *_: (Needed(0.01, 6, 10, None), 2))
    config = changed(prepared, candidates={"seeds": 3, "mixtures": ["doremi", "natural", "uniform"]})
    made = make(config)
    (main,) = (stage for stage in made.stages if stage.role == "main")
    assert (main.number, len({node.mixture for node in main.nodes})) == (8, 3)  # natural's first is the reference
    assert made.one_seed() == 3 * (made.seconds(main) or 0) / 8 / made.at_once
    more = duration_in_words(4 * (made.one_seed() or 0))
    assert (
        f"noise, by 2 seeds: With these steps, to prove 1 % takes about 6 seeds (80 %: at most 10), {more} more."
        in text(made)
    )


def test_what_a_device_cannot_do_is_a_gap_and_a_note(prepared: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(config: RunConfig, spec: TrainingSpec, size: str, corpus: Corpus) -> Measured:
        if spec.scoring is not None:
            raise TrainingError("proxy custom cannot be tried on this device (out of memory)")
        return TIMES

    monkeypatch.setattr(calibration, "measure", fails)
    made = make(prepared)
    assert made.total_seconds() is None
    assert re.search(r"^proxy .* - +- +\d", text(made), re.M)
    assert "note: proxy custom cannot be tried on this device (out of memory)" in text(made)


def trial(config: RunConfig, losses: str | None) -> dict[str, Any]:
    """A request as another process gets it."""
    (spec,) = {stage.spec for stage in stages(config) if stage.role == "reference"}
    assert isinstance(spec, TrainingSpec)
    return {
        "config": config.model_dump(mode="json"), "model": spec.model, "losses": losses, "vocab_size": 300,
        "validation_tokens": 900, "began": 0.0,
    }  # fmt: skip


def test_a_trial_measures_and_leaves_nothing(
    prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SECONDS", 0.01)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    request = trial(prepared, "stored")
    found = Measured(**calibration.answer(request))
    assert min(vars(replace(found, start=1.0, once=1.0)).values()) > 0
    plain = Measured(**calibration.answer(trial(prepared, None)))
    assert plain.losses == 0
    assert list(tmp_path.iterdir()) == []


def test_a_trial_counts_the_batches_of_its_evaluation(
    prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows do not cross domains: as many tokens as fill one batch take two."""
    padded, batches = ValidationSet._padded, []
    monkeypatch.setattr(ValidationSet, "_padded", lambda *args: batches.append(1) or padded(*args))
    monkeypatch.setattr(calibration, "SECONDS", 0.01)
    monkeypatch.setattr(calibration, "_first_and_median", lambda work: (work(), (0.0, 6.0))[1])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = Measured(**calibration.answer(trial(prepared, None)))
    assert len(batches) == 2  # one evaluation, no more is asked for here
    assert found.evaluation == 6.0 / 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
def test_compiling_is_paid_once(prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(calibration, "SECONDS", 0.01)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = Measured(**calibration.answer(trial(changed(prepared, training={"compile": True}), None)))
    assert found.once > 2 * (found.start + found.step)  # seconds against building a tiny model


def test_a_survey_counts_what_will_be_prepared(text_folder: Path, tmp_path: Path) -> None:
    config = changed(tiny_config(tmp_path, text_folder), data={"validation_max_tokens": 1500})
    request = prepare_request(config)
    (tmp_path / "survey").mkdir()
    found = survey(request, tmp_path / "survey")
    real = prepare(request, tmp_path / "corpus")
    for name, entry in asdict(real)["entries"].items():
        guess = found["manifest"]["domains"][name]
        for split in ("train", "validation"):
            assert guess[split]["tokens"] == pytest.approx(entry[split]["tokens"], rel=0.25)
        assert sum(guess[s]["bytes"] for s in ("train", "validation")) == sum(
            entry[s]["bytes"] for s in ("train", "validation")
        )
    assert found["seconds"] > 0


def test_large_files_are_scaled(text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = prepare_request(tiny_config(tmp_path, text_folder))
    monkeypatch.setattr("doremi.corpus.survey.READ_BYTES", 9000)
    (tmp_path / "survey").mkdir()
    found = survey(request, tmp_path / "survey")["manifest"]["domains"]
    for name in DOMAINS:
        assert found[name]["train"]["bytes"] == (text_folder / name / "text.jsonl").stat().st_size


@pytest.mark.usefixtures("instant")
def test_estimates_are_marked_and_nothing_is_written(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(tiny_config(tmp_path, text_folder), limits={"max_epochs": 1e-6})
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "survey").mkdir()
    guess = survey(prepare_request(config), tmp_path / "survey")
    monkeypatch.setattr(calibration, "measure_preparation", lambda *_: {**guess, "memory": 10**9})
    page = text(make(config))
    assert re.search(r"^prepare .*~\d.* ~\d", page, re.M)
    assert "(estimated)" in page
    assert "note: by these estimates limits cannot be kept: " in page
    assert [p for p in sorted(tmp_path.rglob("*")) if "survey" not in p.parts] == before


def test_impossible_limits_are_refused_where_the_corpus_is_prepared(prepared: RunConfig) -> None:
    config = changed(prepared, limits={"max_epochs": 1e-6})
    for refuse in (make, describe):
        with pytest.raises(MixtureError, match="largest"):
            refuse(config)


def test_errors_are_one_line(prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean '70m'"):
        make(prepared, "70mm")
    missing = prepared.model_copy(update={"name": "other"})
    domains = {
        name: d.model_copy(update={"train": [str(tmp_path / "no")]}) for name, d in prepared.data.domains.items()
    }
    with monkeypatch.context() as here:
        here.setattr(calibration, "ask", lambda _, request, what: preparation.answer(request))
        with pytest.raises(DataError, match="there is no such file"):
            make(changed(missing, data={"domains": domains}))
    with pytest.raises(ConfigError, match=r"data\.sequence_length: .*greater than or equal"):  # of another process
        calibration.measure_preparation(changed(prepared, data={"sequence_length": -1}))
    monkeypatch.setattr("sys.executable", "false")
    (proxy,) = (stage.spec for stage in stages(prepared) if stage.role == "proxy")
    assert isinstance(proxy, TrainingSpec)
    with pytest.raises(TrainingError, match="proxy custom cannot be tried on this device"):
        calibration.measure(prepared, proxy, "custom", RunDirectory(prepared.root).corpus())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        make(prepared)


def test_a_dry_run_counts_with_the_tokenizer_and_the_corpus_there_are(prepared: RunConfig, tmp_path: Path) -> None:
    """The vocabulary of a given tokenizer is known before the corpus is, as in the plan."""
    tokenizer = RunDirectory(prepared.root).whole_corpus().folder / "tokenizer" / "tokenizer.json"
    config = prepared.model_copy(update={"runs": str(tmp_path)})
    config = changed(config, data={"tokenizer": str(tokenizer), "vocab_size": 5000})
    assert "model custom: 19,936 parameters" in describe(config)
    with open_workspace(config, WORLD, Silent()) as space:
        preparing.prepare(space)
    page = describe(config)
    assert "model custom: 19,936 parameters" in page  # as in the table of the plan
    assert "one training is about 3.2e8 floating-point operations" in page
    assert re.search(r"^  custom/natural/seed-0 +is doremi/reference/seed-0$", page, re.M)
    assert re.search(r"^  custom/uniform/seed-0 +waiting$", page, re.M)
    assert re.search(r"^  prepare +done$", page, re.M)


@pytest.mark.usefixtures("instant")
def test_the_command(prepared: RunConfig) -> None:
    path = prepared.root.parents[1] / "tiny.yaml"
    result = CliRunner().invoke(cli.app, ["plan", str(path), "--final-size", "1m", "--set", "budget_tokens=1000"])
    assert result.exit_code == 0, result.output
    assert "final run: 1m on 1,000 tokens" in result.output
    assert "`doremi plan`" in describe(prepared)


def test_readable_figures() -> None:
    assert [size_in_words(n) for n in (0, 45, 2500, 2.5e6, 3e9, 4e12)] == [
        "0 bytes",
        "45 bytes",
        "2.5 kB",
        "2.5 MB",
        "3.0 GB",
        "4.0 TB",
    ]
    assert [duration(s) for s in (0.34, 89, 600, 7200, 86400 * 3)] == [
        "0.3 s",
        "89.0 s",
        "10.0 min",
        "2.0 h",
        "3.0 days",
    ]


def test_what_was_measured_here_is_not_measured_again(
    prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer trainings and other seeds take no new trial; another batch, machine or month does."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked: list[str] = []
    monkeypatch.setattr(calibration, "ask", lambda _, request, what: asked.append(what) or vars(TIMES))

    def trials(config: RunConfig) -> list[str]:
        asked.clear()
        said: list[str] = []
        plan.make(config, None, said.append)
        assert [line for line in said if "as measured here on 20" in line] or asked
        return asked.copy()

    first = trials(prepared)
    assert first == ["plain custom", "proxy custom"]
    assert trials(changed(prepared, training={"steps": 9, "learning_rate": 0.5}, candidates={"seeds": 7})) == []
    assert trials(changed(prepared, training={"batch_size": 24})) == first
    with monkeypatch.context() as here:
        here.setattr(measured_here, "_device", lambda: ["another card", 1])
        assert trials(prepared) == first
    with monkeypatch.context() as here:
        here.setattr(kept, "DAYS", 0)
        assert trials(prepared) == first
    for file in (cache_folder() / "calibration").iterdir():
        file.write_text("{")
    assert trials(prepared) == first


@pytest.mark.slow
def test_a_process_of_its_own_measures(prepared: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = make(prepared)
    seconds = made.total_seconds()
    assert seconds is not None
    assert seconds > 0
    assert json.dumps(made.total_memory()) != "null"


# -- arithmetic --------------------------------------------------------------------------------------------------------

H100 = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def on_a_card(prepared: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunConfig:
    """The prepared run, planned as if this machine had a GPU; whoever measures fails."""

    def measured(*_: object) -> Measured:
        raise AssertionError("a minute of compiling")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(plan, "card_name", lambda _: H100)
    monkeypatch.setattr(calibration, "measure", measured)
    shutil.copytree(prepared.root, tmp_path / "runs" / "tiny")
    shutil.copytree(
        RunDirectory(prepared.root).whole_corpus().folder.parent, tmp_path / "runs" / "corpora", dirs_exist_ok=True
    )
    return prepared.model_copy(update={"runs": str(tmp_path / "runs")})


def test_the_first_answer_on_a_gpu_is_arithmetic_and_says_so(
    on_a_card: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(on_a_card)
    assert made.total_seconds() is not None
    page = text(made)
    assert "time and memory are arithmetic, see the note" in page
    assert f"note: time and memory are arithmetic by the data sheet of {H100}" in page
    for kind in (("plain", "custom"), ("proxy", "custom")):
        assert made.measured[kind].step > 0.004
    monkeypatch.setattr(calibration, "measure", lambda *_: TIMES)
    measured = plan.make(on_a_card, None, lambda _: None, measure=True)
    assert set(measured.measured.values()) == {TIMES}
    assert "and time and memory are measured on a few steps" in text(measured)
    monkeypatch.setattr(plan, "card_name", lambda _: "a GPU that nobody knows")
    assert set(make(on_a_card).measured.values()) == {TIMES}
    monkeypatch.setattr(calibration, "measured_before", lambda *_: (TIMES, "2026-11-27"))
    monkeypatch.setattr(plan, "card_name", lambda _: H100)
    assert "arithmetic" not in text(make(on_a_card)).partition("holds")[0]  # kept


def test_what_finished_trainings_took_is_better_than_arithmetic(on_a_card: RunConfig) -> None:
    before = make(on_a_card)
    lines = [
        {"stage": "doremi/reference/seed-0", "seconds": 100.0, "tokens": 2560},
        {"stage": "custom/uniform/seed-0", "seconds": 7.0, "tokens": 2560, "from_step": 3},
        {"stage": "custom/doremi/seed-0", "seconds": 7.0, "tokens": 1280},  # of other settings
    ]
    (on_a_card.root / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    after = make(on_a_card)
    assert after.seconds(after.stages[0]) == pytest.approx(100.0)
    assert after.seconds(after.stages[1]) == before.seconds(before.stages[1])  # no proxy has ended
    mains = after.stages[2]
    assert after.seconds(mains) == pytest.approx(100.0 * mains.number)
    assert "time and memory are arithmetic" in text(after)  # the proxy's
    (on_a_card.root / "timings.jsonl").write_text(
        "".join(json.dumps({**lines[0], "stage": f"doremi/{role}/seed-0"}) + "\n" for role in ("reference", "proxy"))
    )
    assert "and memory is arithmetic, and time is what this run's trainings have taken" in text(make(on_a_card))


def test_a_large_model_takes_its_operations_at_a_share_of_the_data_sheet() -> None:
    """The 120M shape, 32 x 1,024 tokens: 28 T operations a step. One H200 took 73 ms for it."""
    description = shape("280m", None, {})
    settings = TrainingConfig(
        steps=1000, batch_size=32, precision="bfloat16", compile=True, threads=2, evaluate_every=1000
    )
    each = of_model(description, 50_304, 1024)
    counts = Counts(
        85_000_000, 124_000_000, each.forward, each.training, each.saved, each.scores, each.layers, each.in_blocks,
        each.in_attention, each.between,
    )  # fmt: skip
    memory = 141 * 10**9
    spec = TrainingSpec("f", 1024, json.dumps(description), settings, (1.0,), 0, device="cuda", device_memory=memory)
    corpus = replace(numbers({"web": 10**7}), tokenizer=TokenizerEntry("trained", "t", 50_304, "e", 0))
    found = estimated(spec, corpus, counts, "NVIDIA H200")
    slow = settings.model_copy(update={"precision": "float32"})
    float32 = estimated(replace(spec, settings=slow), corpus, counts, "NVIDIA H200")
    assert found is not None
    assert float32 is not None
    assert found.step == pytest.approx(0.073, rel=0.3)
    assert float32.step > 5 * found.step
    assert estimated(spec, corpus, replace(counts, forward=None, training=None), "NVIDIA H200") is None
