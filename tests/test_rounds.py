"""Iterated DoReMi: each round trains on what the one before found, and stops by the paper's rule or in the noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.executors.choose import chosen
from doremi.methods.doremi import result_of_round
from doremi.mixture.files import read_mixture
from doremi.mixture.record import MixtureRecord, Uncertainty
from doremi.pipeline.run import search
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
    natural = read_mixture(finished.mixture_path("natural"))
    assert finished.reference(0, 1).stage()["mixture"] == natural.weights
    assert finished.reference(0, 2).stage()["mixture"] == mixture_of(finished, 1)["weights"]
    trace = finished.proxy(0, 2).trace()
    assert np.isfinite(trace["score_error"][trace["tokens"] > 16]).all()  # two sequences or more


def mixture_of(run: RunDirectory, number: int) -> Any:
    """The version that a round made."""
    (node,) = run.nodes().find("mixture", round=number)
    return json.loads((run.root / str(node.place)).read_text())


def test_the_last_round_is_the_answer(finished: RunDirectory) -> None:
    record, last = json.loads((finished.root / "mixture.json").read_text()), mixture_of(finished, 2)
    assert record["version"] == last["version"] == finished.nodes().candidate("doremi").version
    assert record["weights"] == last["weights"]
    assert [r["round"] for r in record["rounds"]] == [1, 2]
    assert record["rounds"][1]["weights"] == last["weights"]
    moved = [abs(last["weights"][n] - record["rounds"][0]["weights"][n]) for n in last["weights"]]
    assert record["rounds"][1]["largest_change"] == max(moved)
    assert finished.main("custom", "doremi", 0).stage()["mixture"] == last["weights"]
    assert "After round 2" in (finished.root / "report.html").read_text()


def test_natural_is_the_first_rounds_reference(finished: RunDirectory) -> None:
    assert finished.main("custom", "natural", 0).folder == finished.reference(0, 1).folder


@pytest.mark.parametrize("stop_after", [30, 55])
def test_stopped_in_any_round_and_run_again(
    stop_after: int, finished: RunDirectory, text: Path, tmp_path: Path
) -> None:
    config = tiny_config(tmp_path, text, rounds={"max": 2}, candidates=CANDIDATES)
    world = World(0, 1, torch.device("cpu"))
    for watch in (Silent(stop_after), Silent()):
        with open_workspace(config, world, watch) as space:
            if watch.left is None:
                search(space, chosen)
            else:
                with pytest.raises(Interrupted):
                    search(space, chosen)
    again = RunDirectory(config.root).mixture_path("doremi").read_bytes()
    assert again == finished.mixture_path("doremi").read_bytes()


def test_one_large_step_is_enough_to_stop(text: Path, tmp_path: Path) -> None:
    """`until: 1`: any change is below it, so the first of three rounds is the last."""
    config = tiny_config(tmp_path, text, rounds={"max": 3, "until": 1.0}, candidates=CANDIDATES)
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
        search(space, chosen)
    record = json.loads((config.root / "mixture.json").read_text())
    assert [r["stopped"] for r in record["rounds"]] == ["no weight changed by 1"]
    assert [n.round for n in RunDirectory(config.root).nodes().find("proxy")] == [1]


@pytest.mark.parametrize(
    ("before", "interval", "stopped"),
    [
        (0.5004, None, "no weight changed by 0.001"),
        (0.52, None, None),
        (0.52, {"a": [0.45, 0.55], "b": [0.45, 0.55]}, "the change is within the spread between proxies"),
        (0.6, {"a": [0.45, 0.55], "b": [0.45, 0.55]}, None),
    ],
)
def test_when_to_stop(before: float, interval: Any, stopped: str | None, text: Path, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, text, rounds={"max": 3})
    record = MixtureRecord(weights={"a": 0.5, "b": 0.5}, uncertainty=Uncertainty(confidence=0.95, interval=interval))
    found = result_of_round(config, 2, {"a": before, "b": 1 - before}, record)
    assert found.stopped == stopped
    assert found.largest_change == pytest.approx(abs(before - 0.5))
