"""`doremi sample --jobs`: a data set that several jobs write together, by hand and on a real Slurm."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.executors import slurm_shards
from doremi.export import sampled
from doremi.export.sampled import NAME
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import weights_file
from slurm_here import missing, slurm
from test_sample import NAMES, SHARD, TOKENS, WEIGHTS, configure, contents
from test_slurm import ODD, program
from test_slurm_real import ask, starts, wait_for


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run and a mixture, which the command is started in, and data sets of seven shards."""
    folder = tmp_path / ODD.partition("\n")[0]
    run = RunDirectory(make_run(folder / "runs" / "demo", MadeRun(domains=NAMES, seeds=(0,))))
    configure(run, workers=1)
    weights_file(folder / "mixture.json", WEIGHTS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sampled, "SHARD_TOKENS", SHARD)
    monkeypatch.setattr(slurm_shards, "LARGEST", 3)
    return folder


def doremi(out: str, *more: str) -> tuple[int, str]:
    words = ["sample", "runs/demo", f"--tokens={TOKENS}", "--to=flat", f"--out={out}", "--mixture=mixture.json", *more]
    return given(words)


def given(words: list[str]) -> tuple[int, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output + (str(done.exception) if done.exit_code else "")


def jobs_of(part: Path) -> list[str]:
    return [line for name in ("1-begin", "2-shards", "3-end") for line in (part / f"{name}.txt").read_text().split()]


def command_of(script: Path) -> list[str]:
    """The words for doremi in a script, without the job's name."""
    line = next(line for line in script.read_text().splitlines() if line.startswith("cd -- "))
    words = shlex.split(line)
    assert words[words.index("exec") + 2 : words.index("exec") + 4] == ["-m", "doremi"]
    assert words[-2:] == ["$job", "&"]
    return words[words.index("exec") + 4 : -2]


def test_jobs_write_what_one_command_writes(folder: Path) -> None:
    """Each of the command's jobs, in another order than they are listed in, and some of them twice."""
    code, said = doremi("parts", "--jobs=slurm:jobs here")
    assert (code, "To send them" in said, (folder / "parts").exists()) == (0, True, False)
    part = folder / "jobs here/part-1"
    begin, *shares, end = jobs_of(part)
    assert (begin, shares, end) == ("begin", ["1/3", "2/3", "3/3"], "end")
    words = command_of(part / "2-shards.sh")
    assert words == command_of(part / "1-begin.sh") == command_of(part / "3-end.sh")
    code, said = given([*words, "1/3"])
    assert (code != 0, "parts: nothing is begun there; do so with --jobs begin" in said) == (True, True)
    for job in (begin, "3/3", "1/3", "1/3", begin):
        code, said = given([*words, job])
        assert code == 0, said
    code, said = given([*words, end])
    assert code != 0
    assert "files that are not written yet: 2, the first is shard-00001.bin" in said
    assert not json.loads((folder / "parts" / NAME).read_text(encoding="utf-8"))["finished"]
    assert given([*words, "2/3"])[0] == given([*words, end])[0] == 0
    assert doremi("whole")[0] == 0
    assert contents(folder / "parts") == contents(folder / "whole")
    assert (folder / "parts" / NAME).read_bytes() == (folder / "whole" / NAME).read_bytes()
    assert sorted(path.name for path in (folder / "parts").glob(".*")) == [".doremi-sample.lock"]


@pytest.mark.parametrize("job", ["0/3", "4/3", "half", "1/", "slurm"])
def test_jobs_that_are_none(job: str, folder: Path) -> None:
    code, said = doremi("parts", f"--jobs={job}")
    assert code != 0
    assert f"--jobs {job!r}: should be slurm:FOLDER, begin, a share such as 3/16, or end" in said
    assert not (folder / "parts").exists()


def test_scripts_are_refused_for_what_would_fail_in_each_job(folder: Path) -> None:
    asked = {"--to=tape": "should be flat", "--mixture=nobody": "has no mixture 'nobody'", "--path=web=x": "no path"}
    for option, words in asked.items():
        code, said = doremi("parts", option, "--jobs=slurm:jobs")
        assert (code != 0, words in said) == (True, True), said
    assert not (folder / "jobs").exists()


# -- on Slurm ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with slurm(2) as environment:
        yield environment


PYTHON = """
shift 2  # -m doremi
exec {python} -c '
import time
from doremi.cli.commands import main
from doremi.drawing import shards
from doremi.export import sampled
sampled.SHARD_TOKENS, write = {tokens}, shards.written
def slowly(job, number):
    time.sleep(2)
    print("shard", number, flush=True)
    return write(job, number)
shards.written = slowly
main()' "$@"
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(missing()), reason=f"not installed here: {', '.join(missing())}")
def test_an_array_of_slurm_writes_the_same(
    cluster: dict[str, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task goes back into the queue, and one is ended for good; then the same scripts are sent again."""
    assert doremi("whole")[0] == 0
    python = program(tmp_path / "bin/python", PYTHON.format(python=shlex.quote(sys.executable), tokens=SHARD))
    monkeypatch.setattr(slurm_shards.sys, "executable", str(python))
    part, out = folder / "jobs/part-1", folder / "parts"
    assert doremi("parts", "--jobs=slurm:jobs")[0] == 0
    sent = dict(line.split() for line in ask(cluster, str(part / "submit.sh")).splitlines())
    wait_for(lambda: (out / "shard-00000.bin").exists(), cluster, part)
    first = (out / "shard-00000.bin").stat().st_ino
    ask(cluster, "scontrol", "requeue", f"{sent['2-shards']}_1")
    wait_for(lambda: (out / "shard-00001.bin").exists(), cluster, part)
    ask(cluster, "scancel", f"{sent['2-shards']}_2")
    wait_for(lambda: not ask(cluster, "squeue", "--noheader"), cluster, part)
    log = (part / "logs/2-shards-1.log").read_text()
    assert starts(part / "logs/2-shards-1.log") == 2
    assert re.findall(r"^shard (\d)$", log.rpartition(": 1/3\n")[2], re.MULTILINE) == ["3", "6"]
    assert (out / "shard-00000.bin").stat().st_ino == first
    assert "files that are not written yet: 1, the first is shard-00004.bin" in (part / "logs/3-end-1.log").read_text()

    assert doremi("parts", "--jobs=slurm:jobs")[0] == 0
    ask(cluster, str(folder / "jobs/part-2/submit.sh"))
    wait_for(lambda: not ask(cluster, "squeue", "--noheader"), cluster, folder / "jobs")
    logs = {path.name: path.read_text() for path in (folder / "jobs/part-2/logs").iterdir()}
    assert [(name, line) for name, log in logs.items() for line in log.splitlines() if line.startswith("shard ")] == [
        ("2-shards-2.log", "shard 4")
    ]
    assert contents(out) == contents(folder / "whole")
    assert (out / NAME).read_bytes() == (folder / "whole" / NAME).read_bytes()
