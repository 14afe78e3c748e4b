"""Trackers: what they are told, by which name, and what becomes of a training that goes on. Without network."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import RunConfig
from doremi.errors import ConfigError
from doremi.events.event import Began, Evaluated, Event, Finished, Measured, Said, SplitLosses, Stopped
from doremi.pipeline.checks import check as check_config
from doremi.trackers import TRACKERS, Tracked, check
from doremi.trackers.figures import figures, safe_name
from tiny import Silent, tiny_config, write_corpus, write_tiny

JOB, KEY, DOMAINS = "doremi/proxy/seed-0", "0123456789abcdef" * 4, ("web", "law")


def measured(step: int, loss: float) -> Measured:
    return Measured(JOB, step, 8 * step, loss, 0.1, 1.0, [loss, None], [8, 0], [0.7, 0.3], [0.6, 0.4], None)


def evaluated(step: int) -> Evaluated:
    losses = SplitLosses([4.0, 5.0], [2.0, 3.0])
    return Evaluated(JOB, step, 8 * step, {"select": losses, "report": losses})


def began(step: int) -> Began:
    return Began(JOB, KEY, "dro", 40, step, 8, DOMAINS)


def tell(name: str, run: Path, events: list[Event]) -> list[str]:
    """What the watch hears meanwhile."""
    watch = Silent()
    tracked = Tracked(watch, [name], run)
    for event in events:
        tracked.emit(event)
    return [message for message in watch.messages if message.startswith("warning")]


FIRST: list[Event] = [began(0), measured(10, 5.0), evaluated(10), measured(20, 4.0), Stopped(JOB)]
AGAIN: list[Event] = [began(15), measured(20, 3.5), evaluated(20), measured(30, 3.0), Finished(JOB, 1.0)]
"""From the checkpoint of step 15 on: step 20 comes a second time."""


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"needs the extra {package}")


# -- names ------------------------------------------------------------------------------------------------------------


def test_figures_have_stable_names() -> None:
    assert figures(measured(10, 5.0), DOMAINS) == {
        "loss": 5.0, "learning_rate": 0.1, "gradient_norm": 1.0, "domain_loss/web": 5.0,
        "weight/web": 0.7, "weight/law": 0.3, "average_weight/web": 0.6, "average_weight/law": 0.4,
    }  # fmt: skip
    assert figures(evaluated(10), DOMAINS) == {
        f"validation/{split}/{name}/{domain}": value
        for split in ("select", "report")
        for name, values in (("loss", (4.0, 5.0)), ("bits_per_byte", (2.0, 3.0)))
        for domain, value in zip(DOMAINS, values, strict=True)
    }
    assert figures(Said("x"), DOMAINS) == {}
    assert "/" not in safe_name(JOB)


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_tracker_that_fails_is_told_about_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Broken:
        name, package = "Broken", "json"

        def __init__(self, run: Path) -> None:
            pass

        def hear(self, event: Event) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(TRACKERS, "broken", Broken)  # type: ignore[arg-type]
    assert tell("broken", tmp_path, [*FIRST, *AGAIN]) == [
        "warning: Broken failed (No space left on device). The run goes on without it."
    ]


FAILED = "Weights & Biases failed (no network). The run goes on without it."


@pytest.fixture
def without_network(tmp_path: Path) -> Path:
    """A folder of packages with a W&B that fails, and that notes each attempt in a file beside it."""
    package = tmp_path / "packages" / "wandb"
    package.mkdir(parents=True)
    note = f"with open({str(tmp_path / 'tried')!r}, 'a') as file:\n    file.write('x')\n"
    (package / "__init__.py").write_text(f"{note}raise OSError('no network')\n")
    return package.parent


def test_one_that_fails_is_left_out_of_all_later_trainings(
    without_network: Path, tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each training of a run would wait for its network again, and say so."""
    monkeypatch.syspath_prepend(without_network)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    path = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", trackers=["wandb"])
    done = CliRunner().invoke(app, ["tune", str(path), "--set", "training.steps=2"])  # five trainings
    assert done.exit_code == 0, done.output
    assert done.output.count(FAILED) == 1
    assert (tmp_path / "tried").read_text() == "x"


@pytest.mark.slow
def test_one_that_fails_in_several_processes_is_told_about_once(
    without_network: Path, tmp_path: Path, text: Path
) -> None:
    path = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", trackers=["wandb"], workers=2)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(without_network), *sys.path])}
    command = [sys.executable, "-m", "doremi", "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(FAILED) == 1
    assert (tmp_path / "tried").read_text() in ("x", "xx")  # those two that had begun
    assert (tmp_path / "runs/tiny/report.html").exists()


def test_a_missing_package_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: Path) -> None:
    monkeypatch.setattr("doremi.trackers.find_spec", lambda name: None)
    config = config_with(tmp_path, text, "wandb")
    with pytest.raises(ConfigError, match=r"trackers: wandb is not installed; run pip install 'doremi\[wandb\]'"):
        check_config(config, search=True)
    check([])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def config_with(folder: Path, text: Path, *trackers: str) -> RunConfig:
    return tiny_config(folder, text, trackers=list(trackers))


# -- the real ones ----------------------------------------------------------------------------------------------------


@needs("tensorboard")
def test_tensorboard_reads_back_what_was_told(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore

    assert tell("tensorboard", tmp_path, FIRST) == []
    assert tell("tensorboard", tmp_path, AGAIN) == []
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == "doremi.proxy.seed-0-0123456789abcdef"
    read = EventAccumulator(str(folder))
    read.Reload()
    points = [(point.step, point.value) for point in read.Scalars("loss")]
    assert points == [(10, 5.0), (20, 3.5), (30, 3.0)]
    assert [point.step for point in read.Scalars("validation/select/loss/law")] == [10, 20]


@needs("wandb")
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tell("wandb", tmp_path, FIRST) == []
    assert tell("wandb", tmp_path, AGAIN) == []
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in folders} == {"0123456789abcdef"}
    held = b"".join(file.read_bytes() for folder in folders for file in folder.glob("*.wandb"))
    for name in (b"domain_loss/web", b"average_weight/law", b"doremi.proxy.seed-0"):
        assert name in held


@needs("wandb")
def test_wandb_without_a_key_does_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    (said,) = tell("wandb", tmp_path, FIRST)
    assert "Weights & Biases failed (not logged in: set WANDB_API_KEY" in said


@needs("trackio")
def test_trackio_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    assert tell("trackio", tmp_path / "run", FIRST) == []
    assert tell("trackio", tmp_path / "run", AGAIN) == []
    (place,) = (tmp_path / "trackio").glob("*.db")
    rows: list[Any] = sqlite3.connect(place).execute("select distinct run_name from metrics").fetchall()
    assert [row[0] for row in rows] == ["doremi.proxy.seed-0-0123456789abcdef"]
    assert capsys.readouterr().out == ""
