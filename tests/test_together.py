"""Several at work in one run directory: who may, who waits, who is told, and what is shown of it.

Two threads stand for two processes: a lock that a thread has keeps out all others, whoever they are.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.clean import clean
from doremi.cli.commands import app
from doremi.cli.jobs import jobs_table
from doremi.cli.status import status_table
from doremi.config import RunConfig, load
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import Interrupted, RunError
from doremi.events.event import Event, Said, Stepped
from doremi.executors.choose import chosen
from doremi.pipeline import run as running
from doremi.pipeline.driver import settle
from doremi.pipeline.host import this_host
from doremi.pipeline.preparing import trained_on
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import Taken
from doremi.rundir.locks import Locks, at_work
from no_flock import refuse_flock
from tiny import Silent, tiny_config, write_corpus, write_tiny

ALONE = World(0, 1, torch.device("cpu"))
SETTINGS: dict[str, Any] = {
    "training": {"steps": 4, "evaluate_every": 4, "log_every": 4},
    "candidates": {"mixtures": ["natural", "uniform"], "seeds": 2},
}
ONE, OTHER = "custom/uniform/seed-0", "custom/uniform/seed-1"
PATIENCE = 60


def prepares(space: Workspace) -> Corpus:
    return running.prepare_only(space, chosen)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that is prepared, and all that it is made of."""
    root = tmp_path_factory.mktemp("prepared")
    config = tiny_config(root, write_corpus(root / "text"), **SETTINGS)
    with open_workspace(config, ALONE, Silent()) as space:
        prepares(space)
    return root


@pytest.fixture
def config(prepared: Path, tmp_path: Path) -> RunConfig:
    shutil.copytree(prepared / "runs", tmp_path / "runs")
    return load(write_tiny(tmp_path / "tiny.yaml", prepared / "text", tmp_path / "runs", **SETTINGS))


@pytest.fixture(
    params=[pytest.param(0, id="flock"), pytest.param(errno.ENOLCK, id="no flock", marks=pytest.mark.slow)],
    autouse=True,
)
def any_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "write_report", lambda _: None)
    if request.param:
        refuse_flock(monkeypatch, request.param)


class Pausing(Silent):
    """Stays in its first step until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.at_step, self.go_on, self.waits = threading.Event(), threading.Event(), threading.Event()

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Stepped):
            self.at_step.set()
            assert self.go_on.wait(PATIENCE)
        if isinstance(event, Said) and "Waiting for it" in event.message:
            self.waits.set()


@dataclass
class Worker:
    """Somebody who works in the run, in a thread."""

    watch: Pausing
    ended: Future[Any]

    def end(self) -> None:
        self.watch.go_on.set()
        self.ended.result(PATIENCE)


STARTED: list[Worker] = []


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    for worker in STARTED:
        worker.watch.go_on.set()
    STARTED.clear()


def start(config: RunConfig, work: Callable[[Workspace], object], *, joins: bool = False) -> Worker:
    watch = Pausing()

    def whole() -> None:
        with open_workspace(config, ALONE, watch, joins=joins) as space:
            work(space)

    pool = ThreadPoolExecutor(1)
    worker = Worker(watch, pool.submit(whole))
    STARTED.append(worker)
    pool.shutdown(wait=False)
    return worker


def start_job(config: RunConfig, name: str) -> Worker:
    return start(config, lambda space: running.one_job(space, name), joins=True)


def at_first_step(worker: Worker) -> Worker:
    while not worker.watch.at_step.wait(0.1):
        if worker.ended.done():
            worker.ended.result()
            pytest.fail("it has trained nothing")
    return worker


def trained(config: RunConfig) -> int:
    return len(list(config.root.glob("trainings/*/stage.json")))


# -- jobs and drivers -------------------------------------------------------------------------------------------------


def test_jobs_of_different_nodes_run_at_once(config: RunConfig) -> None:
    first = at_first_step(start_job(config, ONE))
    second = at_first_step(start_job(config, OTHER))
    table, status = jobs_table(config), status_table(config)
    before = sorted(config.root.rglob("*"))
    for name in (ONE, OTHER):
        assert [line.split()[1] for line in table.splitlines() if line.startswith(name)] == ["running"]
        assert [line.split()[1] for line in status.splitlines() if line.startswith(name)] == ["running"]
    assert table.count("running") == 2
    assert sorted(config.root.rglob("*")) == before  # who looks makes nothing
    first.end()
    second.end()
    assert trained(config) == 2
    assert at_work(config.root) == frozenset()
    assert list(json.loads((config.root / "models/index.json").read_text())["models"]) == [ONE, OTHER]
    assert [p.name for p in (config.root / "locks").iterdir() if p.suffix != ".lock"] == []


def test_a_corpus_of_another_run_is_not_yet_prepared_for_this_one(config: RunConfig) -> None:
    """What waits for `prepare` must not see it done: somebody has to do that job first."""
    second = config.model_copy(update={"name": "second"})
    states = {line.split()[0]: line.split(maxsplit=1)[1] for line in jobs_table(second).splitlines()[1:]}
    assert (states["prepare"], states["doremi/reference/seed-0"]) == ("ready", "waits for prepare")
    with open_workspace(second, ALONE, Silent(), joins=True) as space:
        running.one_job(space, "prepare")
    states = {line.split()[0]: line.split()[1] for line in jobs_table(second).splitlines()[1:]}
    assert (states["prepare"], states["doremi/reference/seed-0"]) == ("done", "ready")


def test_of_two_jobs_of_one_node_the_second_waits_and_finds_it_done(config: RunConfig) -> None:
    first = at_first_step(start_job(config, ONE))
    second = start_job(config, ONE)
    assert second.watch.waits.wait(PATIENCE)
    first.end()
    second.end()
    (said,) = [message for message in second.watch.messages if "Waiting for it" in message]
    assert said.startswith(f"{ONE}: process ")
    assert first.watch.messages.count(f"{ONE}: begins") == 1
    assert f"{ONE}: begins" not in second.watch.messages  # it has begun no stage
    assert trained(config) == 1


def test_who_waits_for_a_node_can_be_stopped(config: RunConfig) -> None:
    first = at_first_step(start_job(config, ONE))
    second = start_job(config, ONE)
    second.watch.left = 1
    assert second.watch.waits.wait(PATIENCE)
    second.watch.left = 0
    with pytest.raises(Interrupted, match="waiting for another process"):
        second.ended.result(PATIENCE)
    first.end()


def test_a_driver_and_a_job_are_at_work_together(config: RunConfig) -> None:
    driver = at_first_step(start(config, lambda space: running.everything(space, chosen)))
    at_first_step(job := start_job(config, OTHER)).end()
    state = json.loads((config.root / "status.json").read_text())
    assert state["state"] == "running"  # the job has left the driver's file alone
    place = RunDirectory(config.root).main("custom", "uniform", 1).folder / "stage.json"
    before = place.stat().st_mtime_ns
    driver.end()
    assert place.stat().st_mtime_ns == before
    assert f"{OTHER}: begins" not in driver.watch.messages
    assert f"{OTHER}: begins" in job.watch.messages
    assert trained(config) == 5  # natural's first is the reference, and there is a proxy
    assert (config.root / "verdict.json").exists()


def test_a_second_driver_is_told_at_once_who_drives(config: RunConfig) -> None:
    driver = at_first_step(start(config, lambda space: running.everything(space, chosen)))
    with pytest.raises(Taken, match=r"tiny: process \d+.* is working in this run directory"):
        start(config, prepares).ended.result(PATIENCE)
    driver.end()


# -- settings ---------------------------------------------------------------------------------------------------------


def test_nobody_changes_the_settings_under_another(config: RunConfig) -> None:
    other = config.model_copy(update={"seed": 5})
    job = at_first_step(start_job(config, ONE))
    recorded = {name: (config.root / name).read_bytes() for name in ("config.yaml", "manifest.json", "nodes.json")}
    for joins in (True, False):
        with pytest.raises(RunError, match=r"process \d+.* is working here with other settings"):
            start(other, prepares, joins=joins).ended.result(PATIENCE)
    assert {name: (config.root / name).read_bytes() for name in recorded} == recorded
    job.end()
    with open_workspace(other, ALONE, Silent(), joins=True):
        assert load_seed(config.root) == 5


def load_seed(root: Path) -> int:
    return int(RunDirectory(root).config()["seed"])


def test_a_model_of_other_data_does_not_join_others(config: RunConfig) -> None:
    job = at_first_step(start_job(config, ONE))
    other = config.model_copy(update={"data": config.data.model_copy(update={"vocab_size": 310})})
    with pytest.raises(RunError, match="other settings"), open_workspace(other, ALONE, Silent(), own_model=True):
        pass
    with open_workspace(config.model_copy(update={"seed": 5}), ALONE, Silent(), own_model=True):
        assert load_seed(config.root) == 0
    job.end()


def test_facts_of_the_machine_stay_while_others_work(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `auto` would mean something else for them from one moment to the next."""
    path = config.root / "manifest.json"
    before = json.loads(path.read_text())["machine"]
    monkeypatch.setattr("doremi.pipeline.workspace.available_cores", lambda: 77)
    with open_workspace(config, ALONE, Silent(), joins=True) as space:
        settle(space, trained_on(config, space.directory), this_host())
        assert json.loads(path.read_text())["machine"] == before
    with open_workspace(config, ALONE, Silent()) as space:
        settle(space, trained_on(config, space.directory), this_host())
        assert json.loads(path.read_text())["machine"]["cores"] == 77


# -- what is removed --------------------------------------------------------------------------------------------------


def test_nothing_is_cleaned_while_a_job_works(config: RunConfig) -> None:
    job = at_first_step(start_job(config, ONE))
    with pytest.raises(Taken, match="is working in this run directory"):
        clean(config, remove=True)
    job.end()
    clean(config, remove=True)


def test_temporaries_are_removed_by_who_holds_their_folder(config: RunConfig) -> None:
    job = at_first_step(start_job(config, ONE))
    (theirs,) = (config.root / "trainings").iterdir()
    (theirs / ".theirs.tmp").touch()
    other = at_first_step(start_job(config, OTHER))
    (mine,) = (path for path in (config.root / "trainings").iterdir() if path != theirs)
    other.watch.left = 0
    other.watch.go_on.set()
    with pytest.raises(Interrupted):
        other.ended.result(PATIENCE)
    (mine / ".mine.tmp").touch()  # as if it had been killed
    at_first_step(other := start_job(config, OTHER))
    assert not (mine / ".mine.tmp").exists()
    assert (theirs / ".theirs.tmp").exists()
    other.end()
    job.end()
    with open_workspace(config, ALONE, Silent(), joins=True):
        assert not (theirs / ".theirs.tmp").exists()


# -- the locks themselves ---------------------------------------------------------------------------------------------


def test_who_comes_waits_for_who_cleans_up(tmp_path: Path) -> None:
    said: list[str] = []
    asked = iter([False] * 12)
    with Locks(tmp_path, said.append).alone():
        with pytest.raises(Interrupted), Locks(tmp_path, said.append).shared(lambda: next(asked, True)):
            pass
        with pytest.raises(Taken), Locks(tmp_path, said.append).alone():
            pass
    assert sum("is starting or cleaning up here. Waiting for it" in message for message in said) == 1
    with Locks(tmp_path, said.append).shared():
        pass


def test_records_are_written_one_after_another(tmp_path: Path) -> None:
    """A number in a file, read and written a little later by each of four."""
    path = tmp_path / "number"
    path.write_text("0")

    def add(_: int) -> None:
        locks = Locks(tmp_path, lambda _: None)
        for _ in range(5):
            with locks.records():
                number = int(path.read_text())
                threading.Event().wait(0.002)
                path.write_text(str(number + 1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert path.read_text() == "20"


# -- whole commands ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_jobs_at_once_leave_the_bytes_of_jobs_in_turn(config: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "runs", tmp_path / "in turn")
    names = [f"custom/{mixture}/seed-{seed}" for mixture in ("natural", "uniform") for seed in (0, 1)]
    commands = [[sys.executable, "-m", "doremi", "job", str(config.root), name] for name in [*names, names[0]]]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in processes]
    assert [code for _, code in ends] == [0] * 5, ends
    for name in names:
        result = CliRunner().invoke(app, ["job", str(tmp_path / "in turn/tiny"), name], catch_exceptions=False)
        assert result.exit_code == 0
    assert contents(config.root) == contents(tmp_path / "in turn/tiny")


def contents(root: Path) -> dict[str, bytes]:
    left_out = {"locks", "timings.jsonl", "status.json", "config.yaml", "where.json"}
    files = {path.relative_to(root): path for path in root.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if left_out.isdisjoint(name.parts)}
