"""Downstream tasks in a run: evaluated once for each main model, compared in the verdict, shown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import load
from doremi.errors import ConfigError, RunError
from doremi.files import read_json, write_json
from doremi.pipeline.judging import judge_run
from doremi.report.facts import read_facts
from doremi.report.fewshot import fewshot_tables
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.verdict import (
    Candidate,
    Price,
    Verdict,
    candidates_of,
    downstream,
    format_table,
    read_verdict,
    write_verdict,
)
from make_run import MadeRun, make_run
from test_fewshot import ITEMS, write_tasks
from tiny import write_corpus, write_tiny
from tolerances import FLOAT64
from verdicts import candidates, verdict_over


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with tasks, two seeds and two candidates, and what it printed."""
    root = tmp_path_factory.mktemp("downstream")
    config = write_tiny(
        root / "tiny.yaml", write_corpus(root / "text"), root / "runs",
        candidates={"seeds": 2, "mixtures": ["doremi", "natural"]},
        downstream={"tasks": str(write_tasks(root / "tasks", ITEMS))},
    )  # fmt: skip
    result = CliRunner().invoke(app, ["run", str(config)], catch_exceptions=False)
    assert result.exit_code == 0
    return config, result.stdout


def run_of(config: Path) -> RunDirectory:
    return RunDirectory(config.parent / "runs/tiny")


def test_every_main_model_is_evaluated_once(finished: tuple[Path, str]) -> None:
    run = run_of(finished[0])
    paths = sorted(run.root.rglob("fewshot.json"))
    mains = [run.main("custom", name, seed).folder for name in ("doremi", "natural") for seed in (0, 1)]
    assert [p.parent for p in paths] == sorted(mains)
    assert run.main("custom", "natural", 0).folder == run.reference(0).folder
    before = [p.stat().st_mtime_ns for p in paths]
    assert CliRunner().invoke(app, ["run", str(finished[0])], catch_exceptions=False).exit_code == 0
    assert [p.stat().st_mtime_ns for p in paths] == before


def test_any_saved_model_by_hand(finished: tuple[Path, str]) -> None:
    folder = run_of(finished[0]).main("custom", "natural", 1).folder
    result = CliRunner().invoke(app, ["fewshot", str(finished[0]), str(folder / "model")], catch_exceptions=False)
    assert result.exit_code == 0
    tasks = read_json(folder / "fewshot.json", "few-shot evaluation")["tasks"]
    expected = f"{tasks['lambada']['metrics']['last_word_accuracy']['value']:.4f}"
    assert re.search(rf"lambada +last_word_accuracy +{expected} +\({tasks['lambada']['n']} examples\)", result.stdout)


def test_a_model_without_tasks_is_refused(finished: tuple[Path, str]) -> None:
    words = ["fewshot", str(finished[0]), "model", "--set", "downstream.tasks=null"]
    with pytest.raises(ConfigError, match=r"downstream\.tasks is not set"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_other_tasks_are_evaluated_again(finished: tuple[Path, str]) -> None:
    run = run_of(finished[0])
    path = run.main("custom", "doremi", 0).folder / "fewshot.json"
    value = read_json(path, "few-shot evaluation")
    write_json(path, {**value, "identity": {**value["identity"], "tasks": {}}})
    stamp = path.stat().st_mtime_ns
    assert CliRunner().invoke(app, ["run", str(finished[0])], catch_exceptions=False).exit_code == 0
    assert path.stat().st_mtime_ns != stamp
    assert read_json(path, "few-shot evaluation") == value


def test_verdict_holds_means_and_differences(finished: tuple[Path, str]) -> None:
    config, printed = finished
    run = run_of(config)
    found = read_json(run.root / "verdict.json", "verdict")["downstream"]
    nats = found["metrics"]["answer_nats_per_byte"]
    assert set(found["metrics"]) == {"answer_nats_per_byte", "last_word_accuracy"}
    assert nats["tasks"] == list(ITEMS)
    files = [read_json(run.main("custom", "doremi", s).folder / "fewshot.json", "") for s in (0, 1)]
    values = [v for f in files for v in f["tasks"]["nq_open"]["metrics"]["answer_nats_per_byte"]["values"]]
    assert nats["values"]["doremi"]["nq_open"] == pytest.approx(np.mean(values), rel=1e-9)
    mean = next(one for one in nats["comparisons"] if one["task"] == "mean")
    by_name = nats["values"]
    assert mean["difference"] == pytest.approx(by_name["doremi"]["mean"] - by_name["natural"]["mean"], abs=1e-9)
    assert mean["interval"][0] <= mean["difference"] <= mean["interval"][1]
    assert "answer nats per byte, lower is better" in printed


def test_it_has_the_documented_form(finished: tuple[Path, str]) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "formats.md").read_text()
    block = re.search(r"## verdict\.json\s+```json\n(.*?)```", page, re.S)
    assert block is not None
    documented = json.loads(block[1])["downstream"]
    found = read_json(run_of(finished[0]).root / "verdict.json", "verdict")["downstream"]
    assert found.keys() == documented.keys()
    one, other = (value["metrics"]["answer_nats_per_byte"] for value in (found, documented))
    assert one.keys() == other.keys()
    assert one["comparisons"][0].keys() == other["comparisons"][0].keys()


def test_all_at_zero_is_no_tie(finished: tuple[Path, str]) -> None:
    """Models that are too small to answer anything cannot be compared by what they answer."""
    run = run_of(finished[0])
    verdict = read_verdict(run.root)
    assert verdict.downstream is not None
    words = verdict.downstream.metrics["last_word_accuracy"]
    if words.values["doremi"]["mean"] == words.values["natural"]["mean"] == 0:
        assert words.comparisons == ()
        assert "all at 0" in format_table(verdict, Price(""))
    else:
        assert words.comparisons != ()


def test_a_candidate_without_tasks_leaves_them_out(finished: tuple[Path, str]) -> None:
    run = run_of(finished[0])
    verdict = read_verdict(run.root)
    everyone = candidates_of(run, run.nodes(), "custom")
    assert downstream(run, everyone, verdict) is not None
    without = replace(everyone[0], trainings=dict.fromkeys(verdict.seeds, TrainingFolder(run.root)))
    assert downstream(run, [*everyone, without], verdict) is None


def test_different_tasks_are_not_compared(finished: tuple[Path, str]) -> None:
    config = finished[0]
    path = run_of(config).main("custom", "doremi", 1).folder / "fewshot.json"
    value = read_json(path, "few-shot evaluation")
    write_json(path, {**value, "shots": 5})
    try:
        with pytest.raises(RunError, match=r"different tasks or settings; run `doremi run` again"):
            judge_run(load(config))
    finally:
        write_json(path, value)


def answered(root: Path, accuracy: dict[str, float]) -> tuple[RunDirectory, list[Candidate], Verdict]:
    """A made run of three seeds whose models answer so much of forty questions right, who they are, and its verdict."""
    made = MadeRun(seeds=(0, 1, 2), effect={name: 0.01 * i for i, name in enumerate(accuracy)})
    run = RunDirectory(make_run(root, made))
    for name, share in accuracy.items():
        for seed in made.seeds:
            right = [float(i < share * 40) for i in range(40)]
            metric = {"value": share, "higher_is_better": True, "values": right[seed:] + right[:seed]}
            task = {"n": 40, "sha256": "0", "metrics": {"exact_match": metric}}
            value = {"format": 1, "shots": 1, "limit": None, "tasks": {"triviaqa": task}}
            write_json(run.main(made.size, name, seed).folder / "fewshot.json", value)
    return run, candidates(run, list(accuracy)), verdict_over(run, list(accuracy))


def test_higher_is_better_is_turned_round(tmp_path: Path) -> None:
    """Accuracy 0.9 against 0.1 on forty examples and three seeds is a win, and a positive difference."""
    found = downstream(*answered(tmp_path / "made", {"doremi": 0.9, "natural": 0.1}))
    assert found is not None
    mean = found.metrics["exact_match"].comparisons[0]
    assert mean.outcome == "win"
    assert mean.difference == pytest.approx(0.8, abs=FLOAT64)
    assert mean.interval is not None
    assert 0 < mean.interval[0] < 0.8 < mean.interval[1]


def test_pairs_and_families_are_those_of_the_other_comparisons(tmp_path: Path) -> None:
    """Natural stands last in the list here, and is the opponent all the same, in the file and on the page."""
    accuracy = {"doremi": 0.9, "uniform": 0.45, "temperature": 0.4, "doremi-per-seed": 0.8, "natural": 0.35}
    run, everyone, judged = answered(tmp_path / "made", accuracy)
    found = downstream(run, everyone, judged)
    assert found is not None
    tasks = found.metrics["exact_match"].comparisons
    assert list(dict.fromkeys((one.candidate, one.opponent, one.family) for one in tasks)) == [
        (c.candidate, c.opponent, c.family) for c in judged.comparisons if c.target == "uniform"
    ]
    assert {one.candidate for one in tasks if one.opponent == "natural"} == set(accuracy) - {"natural"}
    write_verdict(run.root, judged.model_copy(update={"downstream": found}))
    cells = {row[0].text: row[1].small for row in fewshot_tables(read_facts(run))[0].rows}
    assert all(bool(small) == (name != "natural") for name, small in cells.items()), cells
    assert cells["uniform"].startswith("+0.1000 (")


def test_examples_that_agree_in_all_seeds_are_no_certainty(tmp_path: Path) -> None:
    """Four questions that one has right and the other wrong, whatever the seed: no variance, and a coin may do so."""
    run, everyone, judged = answered(tmp_path / "made", {"doremi": 0.9, "natural": 0.8})
    for one, share in zip(everyone, (36, 32), strict=True):
        for folder in one.trainings.values():
            value = read_json(folder.folder / "fewshot.json", "")
            value["tasks"]["triviaqa"]["metrics"]["exact_match"]["values"] = [float(i < share) for i in range(40)]
            write_json(folder.folder / "fewshot.json", value)
    found = downstream(run, everyone, judged)
    assert found is not None
    mean = found.metrics["exact_match"].comparisons[0]
    assert mean.difference == pytest.approx(0.1, abs=FLOAT64)
    assert mean.outcome == "undecided"  # 4 of 4 one way: p is 0.125


def test_tasks_are_judged_at_the_level_of_the_look(tmp_path: Path) -> None:
    run, everyone, judged = answered(tmp_path / "made", {"doremi": 0.9, "natural": 0.1})
    unplanned = {"level": 0.0175, "exploratory": "This look was not planned."}
    once, later = (downstream(run, everyone, judged.model_copy(update=changes)) for changes in ({}, unplanned))
    assert once is not None
    assert later is not None
    wide, narrow = (one.metrics["exact_match"].comparisons[0] for one in (later, once))
    assert (wide.outcome, narrow.outcome) == ("undecided", "win")
    assert wide.interval is not None
    assert narrow.interval is not None
    assert wide.interval[1] - wide.interval[0] > 1.1 * (narrow.interval[1] - narrow.interval[0])


def test_a_folder_that_is_not_there(finished: tuple[Path, str]) -> None:
    result = CliRunner().invoke(app, ["run", str(finished[0]), "--set", "downstream.tasks=/nowhere"])
    assert isinstance(result.exception, ConfigError)
    assert "downstream.tasks: /nowhere is not a folder" in str(result.exception)
    assert json.loads((run_of(finished[0]).root / "status.json").read_text())["state"] == "done"  # told before work
