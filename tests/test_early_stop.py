"""proxy.stop: auto: a proxy ends when its averaged weights have settled, says so, and is the same when interrupted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.executors.choose import chosen
from doremi.pipeline.run import search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import Silent, tiny_config, write_corpus

STEPS, EVERY = 150, 30
WORLD = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


def searched(root: Path, text: Path, stop: str, watch: Silent | None = None, eta: float = 0.0) -> RunDirectory:
    """With eta 0 the weights never move: they have settled as soon as there are steps enough to say so."""
    training = {"steps": STEPS, "evaluate_every": EVERY, "checkpoint_every": 50, "log_every": 7}
    config = tiny_config(root, text, training=training, proxy={"eta": eta, "stop": stop})
    with open_workspace(config, WORLD, watch or Silent()) as space:
        search(space, chosen)
    return RunDirectory(config.root)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunDirectory:
    return searched(tmp_path_factory.mktemp("stopped"), text, "auto")


def test_it_stops_at_the_first_evaluation_that_can_tell(stopped: RunDirectory) -> None:
    stage = stopped.proxy(0).stage()
    assert stage["steps"] == 120  # the first multiple of 30 with the 100 steps that a judgement needs
    assert stage["tokens"] == 120 * stage["batch_size"] * stage["sequence_length"]
    assert sum(stage["consumed_tokens"]) == stage["tokens"]
    assert len(stopped.proxy(0).trace()["step"]) == 120
    assert stopped.proxy(0).evaluation()["step"] == 120
    assert stopped.reference(0).stage()["steps"] == STEPS


def test_the_mixture_says_what_of_the_schedule_was_seen(stopped: RunDirectory) -> None:
    record = json.loads((stopped.root / "mixture.json").read_text())
    held = record["settled"]["0"]
    assert (held["settled"], held["steps"], record["options"]["steps"]) == (True, 120, STEPS)
    warm = 9  # 6 % of the steps
    assert held["learning_rate"] == pytest.approx(0.1 ** ((120 - warm) / (STEPS - warm)), rel=1e-9)


def with_reference(stopped: RunDirectory, root: Path) -> Path:
    """A folder whose run has the corpus and the reference of `stopped` already."""
    target = Path(shutil.copytree(stopped.root, root / "runs" / stopped.root.name))
    shutil.rmtree(target / stopped.proxy(0).folder.relative_to(stopped.root))
    for path in (target / "mixtures").glob("doremi.*.json"):
        path.unlink()
    return root


def test_weights_that_move_go_on_to_the_end(stopped: RunDirectory, text: Path, tmp_path: Path) -> None:
    assert searched(with_reference(stopped, tmp_path), text, "auto", eta=5.0).proxy(0).stage()["steps"] == STEPS


@pytest.mark.parametrize("left", [95, 120])
def test_interrupted_it_stops_at_the_same_step(left: int, stopped: RunDirectory, text: Path, tmp_path: Path) -> None:
    """Stopped before the last step, and right after it: the judgement is made again on the way in."""
    with pytest.raises(Interrupted):
        searched(with_reference(stopped, tmp_path), text, "auto", Silent(left))
    assert not RunDirectory(tmp_path / "runs/tiny").proxy(0).finished
    again = searched(tmp_path, text, "auto")
    for file in ("mixture.json", "stage.json", "metrics.jsonl", "trace.f32"):
        assert (again.proxy(0).folder / file).read_bytes() == (stopped.proxy(0).folder / file).read_bytes()


def test_killed_between_the_last_evaluation_and_the_end(stopped: RunDirectory, text: Path, tmp_path: Path) -> None:
    """It was evaluated after its last checkpoint; going on must not write that evaluation twice."""
    shutil.copytree(stopped.root, tmp_path / "runs" / stopped.root.name)
    folder = RunDirectory(tmp_path / "runs" / stopped.root.name).proxy(0).folder
    before = (folder / "metrics.jsonl").read_bytes()
    (folder / "stage.json").unlink()
    searched(tmp_path, text, "auto")
    assert (folder / "metrics.jsonl").read_bytes() == before
