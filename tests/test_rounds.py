"""Iterated DoReMi: each round trains on what the one before found, and stops by the paper's rule or in the noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.mixture.domains import Mixture
from doremi.mixture.files import read_mixture
from doremi.pipeline.preparing import prepare
from doremi.pipeline.rounds import _change, search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import Silent, tiny_config, write_corpus, write_tiny

CANDIDATES = {"mixtures": ["doremi", "natural"]}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunDirectory:
    root = tmp_path_factory.mktemp("rounds")
    config = write_tiny(root / "tiny.yaml", text, root / "runs", rounds={"max": 2}, candidates=CANDIDATES)
    result = CliRunner().invoke(app, ["run", str(config)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "waiting" not in CliRunner().invoke(app, ["status", str(config)]).stdout
    return RunDirectory(root / "runs/tiny")


def test_a_round_trains_its_reference_on_the_mixture_before(finished: RunDirectory) -> None:
    first, second = finished.round(1), finished.round(2)
    natural = read_mixture(finished.mixture_path("natural"))
    assert first.reference(0).stage()["mixture"] == natural.weights
    assert second.reference(0).stage()["mixture"] == read_mixture(first.mixture_path("doremi")).weights
    assert second.proxy(0).finished
    trace = second.proxy(0).trace()
    assert np.isfinite(trace["score_error"][trace["tokens"] > 16]).all()  # two sequences or more
    assert not (finished.root / "reference").exists()


def test_the_last_round_is_the_answer(finished: RunDirectory) -> None:
    record = json.loads(finished.mixture_path("doremi").read_text())
    last = json.loads(finished.round(2).mixture_path("doremi").read_text())
    assert record["weights"] == last["weights"]
    assert [r["round"] for r in record["rounds"]] == [1, 2]
    assert record["rounds"][1]["weights"] == last["weights"]
    moved = [abs(last["weights"][n] - record["rounds"][0]["weights"][n]) for n in last["weights"]]
    assert record["rounds"][1]["largest_change"] == max(moved)
    assert finished.main("custom", "doremi", 0).stage()["mixture"] == last["weights"]
    assert "After round 2" in (finished.root / "report.html").read_text()


def test_natural_is_the_first_rounds_reference(finished: RunDirectory) -> None:
    assert finished.main("custom", "natural", 0).folder == finished.root / "rounds/1/reference/seed-0"


@pytest.mark.parametrize("stop_after", [30, 55])
def test_stopped_in_any_round_and_run_again(
    stop_after: int, finished: RunDirectory, text: Path, tmp_path: Path
) -> None:
    config = tiny_config(tmp_path, text, rounds={"max": 2}, candidates=CANDIDATES)
    world = World(0, 1, torch.device("cpu"))
    for watch in (Silent(stop_after), Silent()):
        with open_workspace(config, world, watch) as space:
            if watch.left is None:
                search(space, prepare(space))
            else:
                with pytest.raises(Interrupted):
                    search(space, prepare(space))
    again = RunDirectory(config.root).mixture_path("doremi").read_bytes()
    assert again == finished.mixture_path("doremi").read_bytes()


def test_one_large_step_is_enough_to_stop(text: Path, tmp_path: Path) -> None:
    """`until: 1`: any change is below it, so the first of three rounds is the last."""
    config = tiny_config(tmp_path, text, rounds={"max": 3, "until": 1.0}, candidates=CANDIDATES)
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
        search(space, prepare(space))
    record = json.loads(RunDirectory(config.root).mixture_path("doremi").read_text())
    assert [r["stopped"] for r in record["rounds"]] == ["no weight changed by 1"]
    assert not (config.root / "rounds/2").exists()


@pytest.mark.parametrize(
    ("before", "interval", "stopped"),
    [
        (0.5004, None, "no weight changed by 0.001"),
        (0.52, None, None),
        (0.52, {"a": [0.45, 0.55], "b": [0.45, 0.55]}, "the change is within the spread between proxies"),
        (0.6, {"a": [0.45, 0.55], "b": [0.45, 0.55]}, None),
    ],
)
def test_when_to_stop(before: float, interval: object, stopped: str | None, text: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, text, rounds={"max": 3})
    old, new = (Mixture({"a": a, "b": 1 - a}) for a in (before, 0.5))
    found = _change(config, old, new, {"uncertainty": {"interval": interval}})
    assert found["stopped"] == stopped
    assert found["largest_change"] == pytest.approx(abs(before - 0.5))
