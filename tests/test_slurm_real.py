"""A whole run on a real Slurm: arrays, parts, a job put back into the queue in the middle, the bytes of a local run."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from doremi.executors import slurm as writing
from doremi.rundir.layout import RunDirectory
from graphs import config as plain_config
from graphs import made
from slurm_here import missing, slurm
from test_shard_jobs import begun_as_large, corpus_files, prepared
from test_slurm import begun, program
from test_states import results
from tiny import tiny_config, write_corpus, write_tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(bool(missing()), reason=f"not installed here: {', '.join(missing())}"),
]
CORES = 2
ASKED: dict[str, Any] = {
    # some seconds each: the jobs that are stopped must still be at work
    "training": {"steps": 1500, "evaluate_every": 200, "checkpoint_every": 50, "log_every": 50},
    "candidates": {"mixtures": ["doremi", "natural", "uniform"], "seeds": 1},
    "rounds": {"max": 2},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with slurm(CORES) as environment:
        yield environment


def doremi(*words: str | Path, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "doremi", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(cluster: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=cluster, capture_output=True, text=True, check=True).stdout


def wait_for(what: Callable[[], object], cluster: dict[str, str], out: Path, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline or not ask(cluster, "squeue", "--noheader"):
            if what():
                return
            logs = "\n".join(f"{path}:\n{path.read_text()}" for path in sorted(out.rglob("*.log")))
            raise AssertionError(f"{ask(cluster, 'squeue')}\n{logs}")
        time.sleep(0.05)


def numbers(part: Path) -> dict[str, str]:
    """The jobs of a part by the names of their scripts."""
    return dict(line.split() for line in (part / "submitted.txt").read_text().splitlines())


def starts(log: Path) -> int:
    """How often the task has begun."""
    return len(re.findall(r"^[\d-]+ [\d:]+ \S+: ", log.read_text(), re.MULTILINE))


def test_a_run_by_arrays_has_the_bytes_of_a_local_one(cluster: dict[str, str], tmp_path: Path) -> None:
    text = write_corpus(tmp_path / "text")
    local = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "local", **ASKED)
    doremi("run", local)
    odd = tmp_path / 'a user\'s "folder" é $HOME'
    odd.mkdir()
    config = write_tiny(odd / "tiny.yaml", text, odd / "runs %j", **ASKED)
    out = odd / "jobs here"
    run = RunDirectory(odd / "runs %j/tiny")
    secret = {**cluster, "WANDB_API_KEY": "do-not-write-me"}
    doremi("slurm", config, "--out", out, "--sbatch", "--comment='a test'", environment=secret)
    ask(secret, str(out / "part-1/submit.sh"))

    main = out / "part-2/logs/1-main-custom-1.log"
    wait_for(lambda: main.exists() and ": begins" in main.read_text(), cluster, out)
    ask(cluster, "scontrol", "requeue", numbers(out / "part-2")["1-main-custom"] + "_1")
    proxy = out / "part-2/logs/3-proxy-1.log"
    wait_for(lambda: proxy.exists() and ": begins" in proxy.read_text(), cluster, out)
    ask(cluster, "scancel", "--batch", "--signal=USR1", numbers(out / "part-2")["3-proxy"] + "_1")
    wait_for(lambda: not ask(cluster, "squeue", "--noheader"), cluster, out)

    assert not (out / "failed.txt").exists(), (out / "failed.txt").read_text()
    ours, theirs = results(run), results(RunDirectory(tmp_path / "local/tiny"))
    assert [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)] == []
    assert {str(path.relative_to(out)): starts(path) for path in (main, proxy)} == {
        "part-2/logs/1-main-custom-1.log": 2, "part-2/logs/3-proxy-1.log": 2,
    }  # fmt: skip
    assert sum(starts(path) for path in out.rglob("*-[0-9].log")) == 2 + len(jobs(out))
    assert len(jobs(out)) == len(set(jobs(out)))
    last = max(out.glob("part-*"))
    assert "everything is done" in (last / "logs/next.log").read_text()
    assert not [path for path in out.rglob("*.*") if path.is_file() and "do-not-write-me" in path.read_text()]


def test_shards_of_a_corpus_are_an_array(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus of one process. A shard that is put back into the queue is done all the same."""
    text = write_corpus(tmp_path / "text", 300)
    alone = tiny_config(tmp_path / "alone", text)
    prepared(alone)
    config, out = tiny_config(tmp_path / "slurm", text), tmp_path / "jobs"
    begun_as_large(config, monkeypatch)
    doremi("slurm", config.root, "--out", out, environment=cluster)
    first = out / "part-1"
    listed = (first / "1-shard.txt").read_text().splitlines()
    assert listed[0] == "shard/prose/0"
    assert (first / "2-corpus.txt").read_text() == "corpus\n"
    ask(cluster, str(first / "submit.sh"))
    log = first / "logs/1-shard-1.log"
    wait_for(log.exists, cluster, out)
    ask(cluster, "scontrol", "requeue", numbers(first)["1-shard"] + "_1")
    wait_for(lambda: (out / "part-2").exists(), cluster, out)
    ask(cluster, "scancel", "--me")
    assert corpus_files(config) == corpus_files(alone)
    assert [path.name for path in sorted((out / "part-2").glob("1-*.sh"))] == ["1-main-custom.sh", "1-reference.sh"]


STUB = """
case "$*" in
  *" slurm "*) echo went on ;;
  *reference*) echo "error: no memory"; exit 2 ;;
  *) [ -e {seen} ] && exit 0
     trap 'touch {seen}; exit 75' USR1
     while :; do sleep 0.1; done ;;
esac
"""


def test_time_that_is_over_and_a_job_that_failed(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub in place of doremi: what is ours to see here is what Slurm makes of the scripts."""
    asked = plain_config(runs=str(tmp_path), training={"threads": 1}, candidates={"seeds": 1})
    monkeypatch.setattr(writing, "as_it_is", lambda *_: made(asked, begun(asked)))
    python = program(tmp_path / "bin/python", STUB.format(seen=tmp_path / "seen"))
    monkeypatch.setattr(writing.sys, "executable", str(python))
    folder = writing.begin(asked, tmp_path / "out", writing.Wishes(options=("--time=1", "--signal=B:USR1@45")))
    assert folder is not None
    ask(cluster, str(folder / "submit.sh"))
    wait_for(lambda: not ask(cluster, "squeue", "--noheader"), cluster, folder, 200)
    logs = sorted(path.name for path in (folder / "logs").iterdir())
    assert logs == ["1-main-0.1m-1.log", "1-reference-1.log", "next.log"]  # what needs the reference was cancelled
    assert starts(folder / "logs/1-main-0.1m-1.log") == 2
    assert (folder / "logs/next.log").read_text() == "went on\n"


def jobs(out: Path) -> list[str]:
    listed = [path for path in out.glob("part-*/*.txt") if path.name != "submitted.txt"]
    return [job for path in listed for job in path.read_text().splitlines()]
