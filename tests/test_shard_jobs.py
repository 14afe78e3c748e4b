"""The shards of a corpus as jobs of a run: one after another by hand, several at once, killed, stopped, refused."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from doremi.cli.jobs import jobs_table
from doremi.cli.status import status_table
from doremi.config import RunConfig
from doremi.corpus.shards import cut
from doremi.corpus.shards.layout import Shard
from doremi.corpus.shards.write import Desk
from doremi.errors import DataError, Interrupted, RunError
from doremi.events.event import Event, Finished, Reading, Started
from doremi.executors.choose import chosen
from doremi.executors.parts import next_part
from doremi.methods import by_mixture
from doremi.pipeline import driver
from doremi.pipeline.look import look
from doremi.pipeline.planning import as_it_is
from doremi.pipeline.run import everything, one_job, prepare_only
from doremi.pipeline.shards import places_for
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.graph import Graph, graph
from doremi.rundir.layout import RunDirectory
from graphs import corpus
from test_executors import ALONE, Watching
from tiny import tiny_config, write_corpus


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("shards") / "text", 300)


def prepared(config: RunConfig, watch: Watching | None = None) -> Watching:
    watch = watch or Watching()
    with open_workspace(config, ALONE, watch) as space:
        prepare_only(space, chosen)
    return watch


def corpus_files(config: RunConfig) -> dict[str, bytes]:
    corpora = Path(config.runs) / "corpora"
    paths = [path for path in corpora.rglob("*") if path.is_file() and path.name != "corpus.lock"]
    return {str(path.relative_to(corpora)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def straight(text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The corpus of one process, which knows one job."""
    config = tiny_config(tmp_path_factory.mktemp("straight"), text)
    prepared(config)
    return corpus_files(config)


@pytest.fixture
def large(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run for which the same text is a large corpus."""
    monkeypatch.setattr(cut, "SHARD_BYTES", 30_000)
    return tiny_config(tmp_path, text, data={"workers": 2})


def begun_as_large(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first job is done as if the text were large; other processes then go on with these shards."""
    monkeypatch.setattr(cut, "SHARD_BYTES", 30_000)
    do(config, "prepare")


def do(config: RunConfig, name: str) -> None:
    with open_workspace(config, ALONE, Watching(), joins=True) as space:
        one_job(space, name)


def plan(config: RunConfig) -> Graph:
    return as_it_is(config, RunDirectory(config.root))


def shards(config: RunConfig) -> list[str]:
    return [node.id for node in plan(config).nodes if node.kind == "shard"]


def times(config: RunConfig) -> dict[str, int]:
    """When finished shards were written, by the jobs that did."""
    records = (Path(config.runs) / "corpora").rglob(".shards/*/[0-9]*.json")
    return {f"shard/{path.parent.name}/{path.stem}": path.stat().st_mtime_ns for path in records}


def test_one_job_after_another(large: RunConfig, straight: Mapping[str, bytes]) -> None:
    """By hand, the last shard first; what people look at says how far it is."""
    do(large, "prepare")
    names = shards(large)
    assert len(names) >= 5
    assert names[0] == "shard/prose/0"
    rows = [line.split("  ")[0] for line in jobs_table(large).splitlines()]
    assert rows[1 : len(names) + 3] == ["prepare", *names, "corpus"]
    with pytest.raises(RunError, match="corpus waits for shard/prose/0: do that first"):
        do(large, "corpus")
    estimated = look(large, RunDirectory(large.root), corpus(fingerprint=""))  # what the dry run and `plan` go by
    assert [node.id for node in graph(large, estimated, by_mixture()).nodes if node.kind == "shard"] == names
    groups = next_part(plan(large))
    assert [(group.name, group.after) for group in groups] == [("1-shard", ()), ("2-corpus", ("1-shard",))]
    assert groups[0].jobs == tuple(names)
    for name in reversed(names):
        do(large, name)
    assert f"shards                   {len(names)} of {len(names)} shards are done\n" in status_table(large)
    assert next_part(plan(large))[0].jobs == ("corpus",)
    assert {node.waits for node in plan(large).nodes if node.role == "reference"} == {"waits for corpus"}
    do(large, "corpus")
    assert corpus_files(large) == straight
    assert shards(large) == []
    do(large, names[0])  # again, as a scheduler may: nothing is left to do
    do(large, "corpus")
    assert corpus_files(large) == straight


def killer(config: RunConfig) -> Callable[[Event], None]:
    """Kills the worker that writes the second shard, as soon as it has begun."""
    killed: list[str] = []

    def act(event: Event) -> None:
        if isinstance(event, Started) and event.job == "shard/prose/1" and not killed:
            killed.append(event.job)
            os.kill(worker_of(event.job), signal.SIGKILL)

    return act


def worker_of(job: str) -> int:
    import multiprocessing

    return next(child.pid for child in multiprocessing.active_children() if child.name == job)  # type: ignore[misc]


@pytest.mark.slow
def test_another_run_puts_the_corpus_together_meanwhile(
    large: RunConfig, straight: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that are not done are then nobody's work any more."""
    monkeypatch.setattr(driver, "places_for", lambda sizes, cores: 2)
    other = large.model_copy(update={"name": "other"})

    def overtake(event: Event) -> None:
        if isinstance(event, Finished) and event.job.startswith("shard/") and not watch.overtaken:
            watch.overtaken = True
            monkeypatch.setattr(driver, "places_for", lambda sizes, cores: 1)
            prepared(other)

    watch = Overtaken(overtake)
    prepared(large, watch)
    assert watch.overtaken
    begun = [event.job for event in watch.events if isinstance(event, Started)]
    assert "corpus" not in begun
    assert len(begun) < 8
    assert corpus_files(large) == straight


def test_a_shard_is_overtaken_in_the_middle(
    text: Path, straight: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is gone when it is to be written, and the corpus is there."""
    config = tiny_config(tmp_path, text)
    begun_as_large(config, monkeypatch)
    write = Desk.write

    def overtaken(desk: Desk, shard: Shard) -> None:
        monkeypatch.setattr(Desk, "write", write)
        prepared(config.model_copy(update={"name": "other"}))
        write(desk, shard)

    monkeypatch.setattr(Desk, "write", overtaken)
    do(config, "shard/prose/1")
    assert corpus_files(config) == straight


class Overtaken(Watching):
    overtaken = False


@pytest.mark.slow
def test_two_at_once_one_killed_all_stopped_and_again(
    large: RunConfig, straight: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is killed is followed by another. What a stop has left is taken, and no shard is written twice."""
    monkeypatch.setattr(driver, "places_for", lambda sizes, cores: 2)
    first = Watching(killer(large))

    done: list[str] = []

    def stop_later(event: Event, kill: Callable[[Event], None] = first.act) -> None:
        kill(event)
        done.extend([event.job] if isinstance(event, Finished) and event.job.startswith("shard/") else [])
        first.stopping = len(done) >= 3 and "shard/prose/1" in done

    first.act = stop_later
    with pytest.raises(Interrupted):
        prepared(large, first)
    assert "shard/prose/1: its process was ended by SIGKILL. It is done anew." in first.said()
    before = times(large)
    assert 2 <= len(before) < len(shards(large))
    after: dict[str, int] = {}

    def look(event: Event) -> None:
        if isinstance(event, Started) and event.job == "corpus":
            after.update(times(large))

    again = prepared(large, Watching(look))
    begun = {event.job for event in again.events if isinstance(event, Started) and event.job.startswith("shard/")}
    assert begun == after.keys() - before.keys()
    assert {name: time for name, time in after.items() if name in before} == before
    bars = [event for event in again.events if isinstance(event, Reading) and event.job == "shards"]
    assert [bar.done_bytes for bar in bars] == sorted(bar.done_bytes for bar in bars)
    assert bars[-1].done_bytes == bars[-1].total_bytes
    assert corpus_files(large) == straight


@pytest.mark.slow
def test_a_wrong_file_keeps_no_other_shard_waiting(
    large: RunConfig, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looks as before, so that only who reads it sees it."""
    monkeypatch.setattr(driver, "places_for", lambda sizes, cores: 2)
    wrong = tmp_path / "code.jsonl"
    wrong.write_bytes((text / "code" / "text.jsonl").read_bytes())
    domains = {"prose": str(text / "prose"), "code": str(wrong), "digits": str(text / "digits")}
    config = tiny_config(tmp_path, text, data={"workers": 2, "domains": domains})
    do(config, "prepare")
    looks = wrong.stat()
    with wrong.open("r+b") as file:
        file.seek(looks.st_size - 20)
        file.write(b"\0")
    os.utime(wrong, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    with pytest.raises(DataError) as caught:
        prepared(config)
    last = [name for name in shards(config) if name.startswith("shard/code/")][-1]
    message = str(caught.value)
    assert message.startswith(f"{last}: domain 'code': {wrong}, after byte ")
    assert "is not JSON" in message
    assert {name for name in shards(config) if name not in times(config)} == {last}


@pytest.mark.parametrize(
    ("sizes", "cores", "places"),
    [
        ([64] * 8, 2, 2), ([64] * 7, 2, 2), ([64] * 3, 2, 1), ([10_000, 64, 64], 16, 1), ([64] * 40, 16, 16),
        ([64] * 5, 16, 5), ([64] * 3, 16, 1), ([64], 1, 1),
    ],
)  # fmt: skip
def test_how_many_at_once(sizes: list[int], cores: int, places: int) -> None:
    """One process where a file that cannot be cut is most of the text: it has an encoder on every core."""
    assert places_for(sizes, cores) == places


@pytest.mark.slow
def test_a_whole_run(large: RunConfig, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From several shards to the report: the files of a run that had none."""
    monkeypatch.setattr(driver, "places_for", lambda sizes, cores: 2)
    runs: dict[str, dict[str, Any]] = {}
    for name, size in (("large", 30_000), ("small", 1 << 30)):
        monkeypatch.setattr(cut, "SHARD_BYTES", size)
        config = tiny_config(tmp_path / name, text, data={"workers": 2})
        with open_workspace(config, ALONE, Watching()) as space:
            everything(space, chosen)
        paths = (RunDirectory(config.root).root / "trainings").rglob("*.safetensors")
        runs[name] = {str(path.relative_to(config.root)): path.read_bytes() for path in paths}
        assert "shards" in (config.root / "timings.jsonl").read_text() or name == "small"
    assert runs["large"] == runs["small"]
