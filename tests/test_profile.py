"""What engineers look for: a trace of some steps, the rate against the data sheet, the peak of memory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.cli.display.board import Board
from doremi.config import load
from doremi.config.step_range import first_and_last
from doremi.events.event import Began, Started, Stepped
from doremi.training import peak
from doremi.training.peak import device_rate, operations_a_second
from doremi.training.profile import Profiled
from tiny import Silent, write_corpus, write_tiny

JOB = "natural/seed-0"
RATE = 1e10  # operations a second that a made-up data sheet says


def call(*words: object) -> None:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output


def traced(steps: str, made: int, begun: int, folder: Path) -> list[str]:
    """Names of the steps in the trace, where a process begins after `begun` steps and makes `made`."""
    file = folder / "trace.json.gz"
    watch = Profiled(Silent(), steps, file)
    watch.emit(Began(JOB, "key", "plain", begun + made, begun, 8, ("a", "b")))
    for step in range(begun + 1, begun + made + 1):
        with torch.profiler.record_function(f"step {step}"):
            torch.ones(4).sum()
        watch.emit(Stepped(JOB, step, begun + made, 8 * step))
    watch.close()
    if not file.exists():
        return []
    with gzip.open(file, "rt", encoding="utf-8") as held:
        events = json.load(held)["traceEvents"]
    return [name for event in events if (name := str(event.get("name"))).startswith("step ")]


def test_a_trace_holds_the_steps_that_were_asked_for(tmp_path: Path) -> None:
    assert traced("2:3", 6, 10, tmp_path) == ["step 12", "step 13"]


@pytest.mark.parametrize(
    ("steps", "made", "held"), [("1:2", 4, ["step 1", "step 2"]), ("3:9", 4, ["step 3", "step 4"])]
)
def test_a_trace_begins_with_the_first_step_and_ends_with_the_training(
    steps: str, made: int, held: list[str], tmp_path: Path
) -> None:
    assert traced(steps, made, 0, tmp_path) == held


def test_no_trace_is_written_of_steps_that_are_not_made(tmp_path: Path) -> None:
    assert traced("5:6", 3, 0, tmp_path) == []


@pytest.mark.parametrize("steps", ["0:3", "4:2", "5", "5:", ":5", "a:b", "1:2:3", "-1:2", ""])
def test_what_is_no_range_of_steps_is_refused(steps: str) -> None:
    with pytest.raises(ValueError, match="write 5:8"):
        first_and_last(steps)


def test_a_job_writes_a_trace_and_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--profile` as it is typed: a trace that Perfetto reads, and the record of a device whose data sheet is known."""
    monkeypatch.setattr(peak, "device_rate", lambda *_: RATE)
    config = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus"), tmp_path / "runs")
    call("prepare", config)
    call("job", config, "doremi/reference/seed-0", "--profile", "2:3")
    (run,) = [path for path in (tmp_path / "runs").iterdir() if (path / "manifest.json").exists()]
    timings = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    (one,) = [one for one in timings if "peak_memory" in one]
    (trace,) = (run / "profiles").iterdir()
    assert trace.name == f"{one['stage'].replace('/', '.')}.json.gz"
    with gzip.open(trace, "rt", encoding="utf-8") as held:
        events = json.load(held)["traceEvents"]
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in events if event.get("ph") == "X")
    assert sum(str(event.get("name")).startswith("Optimizer.step#") for event in events) == 2
    assert one["peak_memory"] > 100 * 2**20
    assert one["devices"] == 1
    (counted,) = json.loads((run / "counts.json").read_text())["counts"].values()
    sequences = one["tokens"] / load(config).data.sequence_length
    whole = counted["training"] * sequences / (one["seconds"] * RATE)  # of a time that has more in it
    assert whole - 1e-4 <= one["mfu"] <= 5 * whole
    assert one["mfu"] > 0.001


# -- the rate ---------------------------------------------------------------------------------------------------------


def test_the_rate_is_compared_with_the_data_sheet() -> None:
    board = Board()
    board.hear(Started(JOB), 0.0)
    # 1e12 operations a step, on a device that can do 1e13 a second: five steps a second are half of it
    board.hear(Began(JOB, "key", "plain", 100, 0, 1000, ("a",), 10**12, 1e13), 0.0)
    board.hear(Stepped(JOB, 10, 100, 10_000), 2.0)
    assert board.running[JOB].speed_words(2.0) == "5,000 tokens/s, 50% MFU"


@pytest.mark.parametrize(
    ("name", "rate"),
    [("NVIDIA H100 80GB HBM3", 9.89e14), ("NVIDIA H100 PCIe", 7.56e14), ("NVIDIA H200", 9.89e14), ("a new one", None)],
)
def test_devices_are_known_by_name(name: str, rate: float | None) -> None:
    assert operations_a_second(name) == rate


def test_a_cpu_has_no_data_sheet() -> None:
    assert device_rate(torch.device("cpu"), "bfloat16") is None
