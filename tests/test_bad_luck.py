"""What can happen to a run of two processes, a disk or a clock: one message, nothing lost, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from doremi.distributed import World
from doremi.errors import DoremiError, RunError
from doremi.executors.choose import chosen
from doremi.pipeline.run import everything
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from tiny import Silent, tiny_config, write_corpus, write_tiny
from tolerances import SMALL_BATCH

HERE = Path(__file__).resolve().parent
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def run_alone(folder: Path, corpus: Path, *mixtures: str) -> RunDirectory:
    config = tiny_config(folder, corpus, candidates={"mixtures": list(mixtures or ("doremi", "natural", "uniform"))})
    with open_workspace(config, ALONE, Silent()) as space:
        everything(space, chosen)
    return RunDirectory(config.root)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> bytes:
    """The mixture of a run that nothing happened to."""
    return run_alone(tmp_path_factory.mktemp("straight"), corpus).mixture_path("doremi").read_bytes()


# -- one of two processes ---------------------------------------------------------------------------------------------


def launch(
    what: str, rank: int, config: Path, *options: str, extra: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Two processes in a session of their own; afterwards none of that session may be left."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *extra]
    command = [*torchrun, str(HERE / "bad_rank.py"), what, str(rank), "run", str(config), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        out, err = process.communicate(timeout=200)
        assert left_of_session(process.pid) == []
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def left_of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture
def two(tmp_path: Path, corpus: Path) -> Path:
    return write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs", candidates={"mixtures": ["natural"]})


def status(config: Path) -> dict[str, object]:
    return json.loads((config.parent / "runs/tiny/status.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "rank", "says"),
    [
        ("nan", 1, "is not finite"),
        ("read error", 1, "cannot be read at token"),
        ("read error", 0, "cannot be read at token"),
        ("killed", 1, "rank 1 of 2 died without a word"),
        ("hung", 1, "rank 1 of 2 did not answer in time"),
        ("hung", 0, "rank 0 of 2 did not answer in time"),
        ("stuck", 1, "rank 1 of 2 did not answer in time"),
    ],
)
def test_all_end_together_with_one_message(what: str, rank: int, says: str, two: Path, straight: bytes) -> None:
    result = launch(what, rank, two, "--set", "training.timeout=10")
    messages = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1, result.stderr[-3000:]
    assert says in messages[0]
    assert result.returncode != 0
    if (what, rank) != ("hung", 0):  # who hangs writes nothing
        assert status(two)["state"] == "failed"
        assert says in str(status(two)["message"])
        assert status(two)["exit_code"] == 2
    assert_near(goes_on(two), straight)


def assert_near(mixture: bytes, straight: bytes) -> None:
    """The same weights but for the order of sums: batches of 128 tokens, float16 reference losses."""
    made, expected = (json.loads(text)["weights"] for text in (mixture, straight))
    assert list(made.values()) == pytest.approx(list(expected.values()), abs=SMALL_BATCH)


def goes_on(config: Path) -> bytes:
    command = [sys.executable, "-m", "doremi", "run", str(config)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    return RunDirectory(config.parent / "runs" / "tiny").mixture_path("doremi").read_bytes()


@pytest.mark.slow
def test_a_killed_worker_comes_back_by_itself(two: Path) -> None:
    result = launch("killed", 1, two, extra=("--max-restarts=3",))
    assert result.returncode == 0, result.stderr[-3000:]
    assert status(two) | {"process": 0} == {
        "format": 1, "state": "done", "stage": "doremi/proxy/seed-0", "message": "", "process": 0, "exit_code": 0,
        "error": None,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_who_runs_out_of_memory_alone_ends_all_and_they_go_on_with_less(
    restarts: int, two: Path, straight: bytes
) -> None:
    asked = ("--set", "training.accumulation=auto", "--set", "training.timeout=150")  # nobody waits so long
    result = launch("out of memory", 1, two, *asked, extra=(f"--max-restarts={restarts}",))
    (message,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "the GPU of rank 1 has too little memory. Give the same command again" in message
    recorded = json.loads((two.parent / "runs/tiny/manifest.json").read_text())["machine"]
    assert list(recorded["micro_batches"].values()) == [2]
    if restarts == 0:
        assert result.returncode != 0
        assert "it goes on in 2 micro-batches a step" in str(status(two)["message"])
        result = launch("out of memory", 1, two, *asked)
    assert result.returncode == 0, result.stderr[-3000:]
    made = RunDirectory(two.parent / "runs" / "tiny").mixture_path("doremi").read_bytes()
    assert_near(made, straight)


@pytest.mark.slow
def test_one_process_told_to_end_ends_all_after_a_save(two: Path) -> None:
    began = time.monotonic()
    result = launch("terminated", 1, two)
    assert time.monotonic() - began < 60
    assert result.returncode != 0
    assert (status(two)["state"], status(two)["exit_code"]) == ("interrupted", 75)  # written by the other process
    assert [line for line in result.stderr.splitlines() if "Run the same command to resume" in line] != []
    saved = RunDirectory(two.parent / "runs/tiny").reference(0).saved_step()
    assert saved == 5


@pytest.mark.slow
def test_two_machines(two: Path, straight: bytes) -> None:
    """Two agents that meet over c10d on the loopback, as on two nodes of a cluster."""

    def agent(number: int) -> subprocess.Popen[str]:
        command = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d",
            "--rdzv-id=test", "--rdzv-endpoint=127.0.0.1:29411", "--local-addr=127.0.0.1", f"--node-rank={number}",
            "-m", "doremi", "run", str(two),
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    agents = [agent(0), agent(1)]
    for process in agents:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-3000:]
    assert_near(RunDirectory(two.parent / "runs/tiny").mixture_path("doremi").read_bytes(), straight)


# -- a full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; only root may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_full_disk_is_one_line_and_nothing_is_lost(small_disk: Path, corpus: Path, straight: bytes) -> None:
    """The disk grows by and by; wherever it was full, finished work is kept and the next run goes on from it."""
    said: list[str] = []
    for kilobytes in range(40, 4000, 40):
        grow = ["mount", "-o", f"remount,size={kilobytes}k", str(small_disk)]
        subprocess.run(grow, check=True)
        try:
            directory = run_alone(small_disk, corpus, "doremi", "natural")  # natural is the reference
            break
        except (DoremiError, OSError) as error:
            said.append(str(error))
    else:
        pytest.fail("never enough room")
    assert len(said) > 3
    assert all("\n" not in line for line in said)
    assert directory.mixture_path("doremi").read_bytes() == straight
    assert [p for p in directory.root.rglob(".*.tmp")] == []


# -- clocks and sources -----------------------------------------------------------------------------------------------


def test_a_clock_that_runs_backwards_changes_nothing(
    tmp_path: Path, corpus: Path, straight: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [2e9]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    directory = run_alone(tmp_path, corpus)
    assert directory.mixture_path("doremi").read_bytes() == straight
    lines = (directory.root / "timings.jsonl").read_text().splitlines()
    assert all(json.loads(line)["seconds"] >= 0 for line in lines)


def test_sources_are_only_read(tmp_path: Path, corpus: Path, straight: bytes) -> None:
    """A corpus folder without write permission, and nothing in it afterwards that was not there before."""
    source = tmp_path / "text"
    shutil.copytree(corpus, source)
    folders = [source, *(p for p in source.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    before = {p: p.stat().st_mtime_ns for p in source.rglob("*")}
    try:
        directory = run_alone(tmp_path, source)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {p: p.stat().st_mtime_ns for p in source.rglob("*")} == before
    assert directory.mixture_path("doremi").read_bytes() == straight


# -- two runs in one directory ----------------------------------------------------------------------------------------


def test_the_second_of_two_runs_is_told_who_works_there(tmp_path: Path, corpus: Path) -> None:
    """A lock of the operating system: a file left behind by a dead process does not count."""
    config = tiny_config(tmp_path, corpus)
    (config.root / "locks").mkdir(parents=True)
    (config.root / "locks/driver.lock").write_text("99999 elsewhere")
    with (
        open_workspace(config, ALONE, Silent()),
        pytest.raises(RunError, match=f"process {os.getpid()} is working in this run directory"),
        open_workspace(config, ALONE, Silent()),
    ):
        pass
    with open_workspace(config, ALONE, Silent()):
        pass
