"""Several trainings at once: the same bytes, whatever fails, is killed or is asked to stop."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType

import pytest
import torch

from doremi.config import RunConfig
from doremi.distributed import World
from doremi.errors import Interrupted, RunError
from doremi.events.event import Alarmed, Began, Event, Finished, Said, Started, Stepped, Whole
from doremi.executors import processes
from doremi.executors.choose import chosen
from doremi.executors.early import FOR_THE_COMMAND
from doremi.pipeline import driver
from doremi.pipeline.run import everything, search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.locks import at_work
from tiny import Silent, tiny_config, write_corpus, write_tiny

ALONE = World(0, 1, torch.device("cpu"))
LONG = {"training": {"steps": 60, "checkpoint_every": 10}, "candidates": {"mixtures": ["doremi", "natural", "uniform"]}}
OTHER_BYTES = {"timings.jsonl", "status.json", "report.html", "config.yaml", "locks", "where.json"}


class Watching(Silent):
    """Keeps all events, and does something at one of them."""

    def __init__(self, act: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[Event] = []
        self.act, self.stopping = act, False

    def emit(self, event: Event) -> None:
        self.events.append(event)
        self.act(event)

    def stop_requested(self) -> bool:
        return self.stopping

    def said(self) -> str:
        return "\n".join(event.message for event in self.events if isinstance(event, Said))


def run(config: RunConfig, watch: Watching | None = None) -> Watching:
    watch = watch or Watching()
    with open_workspace(config, ALONE, watch) as space:
        everything(space, chosen)
    return watch


def contents(config: RunConfig) -> dict[str, bytes]:
    paths = [
        p for p in config.root.rglob("*") if p.is_file() and OTHER_BYTES.isdisjoint(p.relative_to(config.root).parts)
    ]
    return {str(p.relative_to(config.root)): p.read_bytes() for p in paths if not p.is_symlink()}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("executors") / "text")


@pytest.fixture(scope="module")
def straight(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run with one training at a time."""
    config = tiny_config(tmp_path_factory.mktemp("one"), text, workers=1, **LONG)
    run(config)
    return contents(config)


def test_two_at_once_give_the_same_bytes(text: Path, tmp_path: Path, straight: dict[str, bytes]) -> None:
    config = tiny_config(tmp_path, text, workers=2, **LONG)
    watch = run(config)
    assert contents(config) == straight
    assert most_at_once(watch.events) == 2
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert (
        len(list(Path(f"/proc/{server}/task").iterdir())) == 1
    )  # a forked process would wait for other threads for ever
    assert all(blocks(server, number) for number in FOR_THE_COMMAND)
    assert any(isinstance(event, Alarmed) for event in watch.events)  # a worker's events come through
    wholes = [event for event in watch.events if isinstance(event, Whole)]
    assert (wholes[-1].trainings_done, wholes[-1].trainings) == (4, 4)  # the reference is the candidate natural
    assert wholes[-1].seconds_left == 0


def blocks(process: int, number: int) -> bool:
    """Whether a signal of this number is kept from a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
    return bool(mask >> (number - 1) & 1)


SERVER = """
import sys
from multiprocessing import forkserver
from doremi.executors import early
early.LOADED[1:] = ["slow"]
early.context()
print(forkserver._forkserver._forkserver_pid, flush=True)
sys.stdin.read()
"""


def test_a_server_that_still_loads_ends_with_its_command(tmp_path: Path) -> None:
    """Without a word about Ctrl-C, and at once: whoever reads what the command prints waits for it."""
    (tmp_path / "slow.py").write_text("import time; print('loading', flush=True); time.sleep(600)")
    command = subprocess.Popen(
        [sys.executable, "-c", SERVER], env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    lines = [command.stdout.readline().strip() for _ in range(2)]
    os.kill(int(max(lines, key=str.isdigit)), signal.SIGINT)
    command.kill()
    assert command.communicate(timeout=60) == ("", "")


def test_one_at_a_time_tells_of_the_whole_while_it_trains(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training in this process leaves the driver no other moment. The time left must not count down from a guess."""
    monkeypatch.setattr(driver, "TELL_EVERY_SECONDS", 0.0)
    watch = Watching()
    config = tiny_config(tmp_path, text, workers=1)
    with open_workspace(config, ALONE, watch) as space:
        search(space, chosen, references_only=True)
    steps = [i for i, event in enumerate(watch.events) if isinstance(event, Stepped)]
    between = [event for event in watch.events[steps[0] : steps[-1]] if isinstance(event, Whole)]
    left = [event.seconds_left or 0 for event in between]
    assert len(between) >= 10
    assert 0 < left[-1] < left[5]


def most_at_once(events: list[Event]) -> int:
    now, most = set[str](), 0
    for event in events:
        if isinstance(event, Started):
            now.add(event.job)
            most = max(most, len(now))
        elif isinstance(event, Finished):
            now.discard(event.job)
    return most


def test_a_killed_worker_and_a_stop_change_no_byte(text: Path, tmp_path: Path, straight: dict[str, bytes]) -> None:
    """A worker is killed in its training and goes on; then all are asked to stop, and the next command goes on."""
    killed: list[str] = []

    def act(event: Event) -> None:
        if isinstance(event, Stepped) and event.step > 10 and not killed:
            killed.append(event.job)
            victim = next(p for p in multiprocessing.active_children() if p.name == event.job)
            os.kill(victim.pid or 0, signal.SIGKILL)
        elif isinstance(event, Finished) and killed:
            watch.stopping = True

    watch = Watching(act)
    config = tiny_config(tmp_path, text, workers=2, **LONG)
    with pytest.raises(Interrupted, match="Run the same command to resume"):
        run(config, watch)
    assert f"{killed[0]}: its process was ended by SIGKILL. It resumes from its last checkpoint" in watch.said()
    assert multiprocessing.active_children() == []
    assert not (config.root / "verdict.json").exists()
    run(config.model_copy(update={"workers": 1}))  # begun with one executor, finished with another
    assert contents(config) == straight


def test_what_does_not_need_a_failed_job_is_done(text: Path, tmp_path: Path) -> None:
    """The failures are told at the end, and once. One is a job whose process is killed before it has saved anything."""
    config = tiny_config(tmp_path, text, workers=2, **{**LONG, "training": {"steps": 120, "checkpoint_every": 1000}})
    with open_workspace(config, ALONE, Silent()) as space:
        from doremi.pipeline.run import prepare_only

        prepare_only(space, chosen)
    nodes = {node["id"]: node for node in json.loads((config.root / "nodes.json").read_text())["nodes"]}
    folder = config.root / nodes["custom/uniform/seed-0"]["place"]
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"format": 1, "key": "another", "steps": 1, "batch_size": 8}))
    killed: list[str] = []

    def act(event: Event) -> None:
        if isinstance(event, Began) and event.job == "custom/doremi/seed-0":
            killed.append(event.job)
            victim = next(p for p in multiprocessing.active_children() if p.name == event.job)
            os.kill(victim.pid or 0, signal.SIGKILL)

    watch = Watching(act)
    with pytest.raises(RunError) as caught:
        run(config, watch)
    first, *failures = str(caught.value).splitlines()
    assert first == "2 jobs failed. What does not need them is done."
    assert re.match("  custom/uniform/seed-0: .*holds another training; remove the folder", failures[0])
    assert failures[1] == (
        "  custom/doremi/seed-0: its process was ended by SIGKILL, for the second time at the same step. "
        "Is there enough memory? `workers: 1` does one training at a time"
    )
    assert len(killed) == 2
    done = {event.job for event in watch.events if isinstance(event, Finished)}
    assert {"doremi/reference/seed-0", "doremi/proxy/seed-0"} <= done
    assert not (config.root / "verdict.json").exists()


@pytest.mark.slow
def test_workers_end_when_their_command_is_killed(text: Path, tmp_path: Path, straight: dict[str, bytes]) -> None:
    """Whatever they were doing; nobody waits for it any more."""
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", workers=2, **LONG)
    root = tmp_path / "runs" / "tiny"
    command = [sys.executable, "-m", "doremi", "run", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(root.glob("trainings/*/trace.f32")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while at_work(root) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert at_work(root) == frozenset()
    subprocess.run(command, check=True, capture_output=True)
    paths = [p for p in root.rglob("*") if p.is_file() and OTHER_BYTES.isdisjoint(p.relative_to(root).parts)]
    assert {str(p.relative_to(root)): p.read_bytes() for p in paths if not p.is_symlink()} == straight


NO_FLOCK = """
import errno, fcntl

def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

fcntl.flock = flock
"""


@pytest.mark.slow
def test_workers_on_a_file_system_without_locks(text: Path, tmp_path: Path, straight: dict[str, bytes]) -> None:
    """Said once, though each worker finds it out anew; and nothing stays behind in `locks`."""
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", workers=2, **LONG)
    (tmp_path / "sitecustomize.py").write_text(NO_FLOCK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "doremi", "run", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.count("this file system has no locks (flock)") == 1
    root = tmp_path / "runs" / "tiny"
    assert {path.suffix for path in (root / "locks").iterdir()} == {".lock"}
    paths = [p for p in root.rglob("*") if p.is_file() and OTHER_BYTES.isdisjoint(p.relative_to(root).parts)]
    assert {str(p.relative_to(root)): p.read_bytes() for p in paths if not p.is_symlink()} == straight


SCRIPT = """
from doremi.config import load
from doremi.distributed import start
from doremi.executors import processes
from doremi.executors.choose import chosen
from doremi.pipeline import driver
from doremi.pipeline.run import everything, search
from doremi.pipeline.workspace import open_workspace
from tiny import Silent

print("once", flush=True)
with open_workspace(load({config!r}), start(), Silent()) as space:
    everything(space, chosen)
"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_run_once(text: Path, tmp_path: Path) -> None:
    """Python's processes run the program's file again, which then would begin the run in each of them."""
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", workers=2, **LONG)
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.replace("{config!r}", f"__import__('pathlib').Path({str(config)!r})"))
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert (tmp_path / "runs" / "tiny" / "verdict.json").exists()


@pytest.mark.parametrize("before", [{}, {"__file__": "mine.py"}])
def test_a_program_keeps_its_file_or_has_none(before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook has none. Ray then refuses to start where there is None."""
    main = ModuleType("__main__")
    vars(main).update(before)
    kept = dict(vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with processes._main_left_alone():
        assert vars(main)["__file__"] is None
    assert vars(main) == kept
