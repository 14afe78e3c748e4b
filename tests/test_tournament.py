"""Tournaments: what is trained alike is trained once, method beside mixture, several sizes, equal total compute."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import load
from doremi.errors import ConfigError
from doremi.methods.method import rounded
from doremi.mixture.files import read_mixture
from doremi.pipeline.checks import check
from doremi.pipeline.judging import judge_run
from doremi.rundir.layout import RunDirectory, TrainingFolder
from tiny import tiny_config, write_corpus, write_tiny
from tolerances import FLOAT32

STEPS = 4
SIZES = ("custom", "0.1m")
ALL = ("doremi", "doremi-per-seed", "reference", "natural", "uniform", "unimax")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    root = tmp_path_factory.mktemp("tournament")
    candidates = {"mixtures": list(ALL), "sizes": list(SIZES), "seeds": 2, "equal_compute": True}
    data = {"validation_max_tokens": 3000}  # enough that each half holds several documents
    training = {"steps": STEPS, "evaluate_every": 2, "log_every": 2}
    changes = {"proxy": {"seeds": 2}, "candidates": candidates, "data": data, "training": training}
    return write_tiny(root / "tiny.yaml", text, root / "runs", **changes)


@pytest.fixture(scope="module")
def printed(config_file: Path) -> str:
    result = CliRunner().invoke(app, ["run", str(config_file)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def run(config_file: Path, printed: str) -> RunDirectory:
    return RunDirectory(config_file.parent / "runs/tiny")


def verdict(run: RunDirectory) -> Any:
    return json.loads((run.root / "verdict.json").read_text())


def test_the_reference_mixture_is_a_candidate_under_its_own_name(run: RunDirectory) -> None:
    assert [c["name"] for c in verdict(run)["candidates"]] == [name for name in ALL if name != "reference"]


def test_what_is_trained_alike_is_trained_once(run: RunDirectory) -> None:
    """At a budget of one run UniMax is uniform; natural is the reference, at the reference's size."""
    for seed in (0, 1):
        assert run.main("custom", "natural", seed).folder == run.reference(seed).folder
        assert run.main("custom", "unimax", seed).folder == run.main("custom", "uniform", seed).folder
        assert run.main("0.1m", "natural", seed).folder != run.reference(seed).folder


def test_what_is_trained_alike_is_one_candidate(run: RunDirectory) -> None:
    held = verdict(run)
    assert {"uniform", "unimax"} in [set(pair) for pair in held["same"]]
    compared = {name for c in held["comparisons"] for name in (c["candidate"], c["opponent"])}
    assert len({"uniform", "unimax"} & compared) == 1


def test_a_training_that_is_gone_is_trained_again(run: RunDirectory, config_file: Path, tmp_path: Path) -> None:
    copy = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "tiny")))
    shutil.rmtree(copy.main("custom", "unimax", 0).folder)
    result = CliRunner().invoke(app, ["train", str(config_file), "--set", f"runs={tmp_path}"], catch_exceptions=False)
    assert result.exit_code == 0
    ours, theirs = (r.main("custom", "unimax", 0).folder / "evaluation.json" for r in (copy, run))
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_method_has_a_mixture_for_each_seed(run: RunDirectory) -> None:
    for seed in (0, 1):
        own = read_mixture(run.proxy(seed).folder / "mixture.json")
        assert run.main("custom", "doremi-per-seed", seed).stage()["mixture"] == rounded(own).weights
    held = verdict(run)
    assert [c["name"] for c in held["candidates"] if c["interval_of"] == "method"] == ["doremi-per-seed"]
    assert "doremi-per-seed" not in [one["candidate"] for one in held["choices"]["uniform"]]


def test_the_method_needs_a_proxy_for_each_seed(text: Path, tmp_path: Path) -> None:
    candidates = {"mixtures": ["doremi-per-seed", "natural"], "seeds": 3}
    config = tiny_config(tmp_path, text, proxy={"seeds": 2}, candidates=candidates)
    with pytest.raises(ConfigError, match=r"doremi-per-seed needs a proxy for each .* set proxy.seeds to 3"):
        check(config, search=True)


def test_the_verdict_is_of_the_largest_size_and_shows_both(run: RunDirectory) -> None:
    held = verdict(run)
    assert held["size"] == "0.1m"
    assert [s["size"] for s in held["sizes"]] == ["custom", "0.1m"]
    assert held["sizes"][0]["parameters"] < held["sizes"][1]["parameters"]
    assert set(held["sizes"][0]["order"]) == {c["name"] for c in held["candidates"]}
    report = (run.root / "report.html").read_text()
    assert "As models grow" in report
    assert "At equal total compute" in report


def test_equal_compute_needs_a_search(text: Path, tmp_path: Path) -> None:
    candidates = {"mixtures": ["natural", "uniform"], "equal_compute": True}
    config = tiny_config(tmp_path, text, candidates=candidates)
    with pytest.raises(ConfigError, match="equal_compute compares a found mixture with the others"):
        check(config, search=True)


def longer(run: RunDirectory, size: str, name: str) -> TrainingFolder:
    """The first seed of a plain mixture that trained on for what the search cost."""
    (node,) = run.nodes().find("longer", size=size, mixture=name, seed=0)
    folder = run.training(node)
    assert folder is not None
    return folder


def test_longer_trainings_keep_the_budget(run: RunDirectory) -> None:
    """Else UniMax and limits would give them, and mixtures/<name>.json, other weights than the candidates have."""
    one, other = run.main("custom", "unimax", 0).stage(), longer(run, "custom", "unimax").stage()
    assert one["mixture"] == other["mixture"]
    assert one["tokens"] < other["tokens"]


def test_one_seed_starts_all_candidates_alike_on_the_same_samples(run: RunDirectory) -> None:
    """The first step's losses are equal, to the last bits of a sum, wherever two mixtures drew as many sequences."""
    for seed in (0, 1):
        first = {name: run.main("custom", name, seed).trace() for name in ("doremi", "natural", "uniform")}
        for name in ("doremi", "uniform"):
            same_K = first[name]["tokens"][0] == first["natural"]["tokens"][0]
            assert same_K.any()
            ours, theirs = (first[n]["loss"][0][same_K] for n in (name, "natural"))
            assert ours == pytest.approx(theirs, rel=FLOAT32)
    other = [run.main("custom", "natural", seed).trace()["loss"][0] for seed in (0, 1)]
    assert other[0] != pytest.approx(other[1], rel=FLOAT32)


def test_plain_mixtures_train_on_for_what_the_search_cost(run: RunDirectory) -> None:
    """Two references of as many steps, two proxies that cost a third more for the reference's forward pass."""
    steps = STEPS + math.ceil(2 * (STEPS + STEPS * 4 / 3))
    names = ("natural", "uniform", "unimax")
    assert {longer(run, "custom", n).stage()["steps"] for n in names} == {steps}
    larger = longer(run, "0.1m", "natural").stage()["steps"]
    assert STEPS < larger < steps  # the same search is fewer steps of a larger model
    held = verdict(run)["equal_compute"]
    assert [(c["name"], c["longer"]) for c in held["candidates"]] == [("doremi", False), *((n, True) for n in names)]
    assert {c["search"] for c in held["candidates"]} == {"doremi"}
    assert {(c["candidate"], c["opponent"]) for c in held["comparisons"]} == {("doremi", n) for n in names}


def test_equal_compute_is_judged_at_the_level_of_the_look(run: RunDirectory, config_file: Path) -> None:
    """The plan has no look at two seeds, so that nothing is decided, and its ranges are those of a stricter level."""
    again = shutil.copytree(run.root, run.root.parent / "again")
    (again / "looks.json").unlink()
    planned = judge_run(load(config_file, ["name=again", "verdict.looks=planned"])).equal_compute
    before = verdict(run)["equal_compute"]
    assert planned is not None
    assert {one.outcome for one in planned.comparisons} == {"undecided"}
    for one, other in zip(planned.comparisons, before["comparisons"], strict=True):
        assert one.interval is not None
        assert one.interval[1] - one.difference > 1.2 * (other["interval"][1] - other["difference"])


def test_the_terminal_says_all_of_it(printed: str, config_file: Path) -> None:
    assert "doremi-per-seed has a search for each seed" in printed
    assert "At equal total compute" in printed
    assert "At 0.1m (" in printed
    states = CliRunner().invoke(app, ["status", str(config_file)]).stdout
    assert "0.1m/uniform+doremi-search/seed-1" in states
    assert "waiting" not in states
