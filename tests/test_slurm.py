"""A run written for Slurm, without one: which jobs go when, and scripts that do what they say in any folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import RunConfig
from doremi.errors import ConfigError, RunError
from doremi.executors import parts, slurm
from doremi.executors.parts import Group, next_part
from doremi.rundir.graph import Graph
from doremi.rundir.known import Known
from doremi.rundir.machine import Machine
from doremi.rundir.node import Node
from graphs import config, finish, finish_all, known, made
from tiny import write_corpus, write_tiny

WISHES = slurm.Wishes(options=("--partition=gpu --account=x", "--mem=4G"))
ODD = 'a user\'s "folder" é\n $(touch bad) `x`'
LARGE: dict[str, Any] = {
    "proxy": {"seeds": 2},
    "rounds": {"max": 3},
    "reference": {"losses": "stored"},
    "downstream": {"tasks": "tasks"},
    "candidates": {
        "mixtures": ["doremi", "doremi-per-seed", "natural", "uniform", "unimax"], "equal_compute": True,
        "sizes": ["0.1m", "0.3m"],
    },
}  # fmt: skip


def did(plan: Graph, node: Node) -> Known:
    """What is known once a node is done, whatever its kind; every mixture that is found is another one."""
    key = plan.key(node)
    web = int(key[:4], 16) / 2**17 if key else 0.0
    so_far = finish(plan, node, weights={"web": web, "code": 0.5, "law": 0.5 - web})
    if node.kind == "losses":
        return replace(so_far, stored=so_far.stored | {str(key)})
    if node.kind == "fewshot":
        return replace(so_far, answered=so_far.answered | {str(key)})
    if node.kind == "verdict":
        judged = frozenset(str(plan.key(other)) for other in plan.nodes if other.role in ("main", "longer"))
        return replace(so_far, judged=judged)
    return so_far


def as_slurm_does(asked: RunConfig, so_far: Known, groups: Sequence[Group]) -> Known:
    """A part's jobs, each as soon as those before its group are over, the last group first."""
    waiting = {group.name: group for group in groups}
    while waiting:
        free = [group for group in waiting.values() if not waiting.keys() & set(group.after)]
        for job in reversed(free[-1].jobs):
            plan = made(asked, so_far)
            assert plan.ready(plan.node(job)), job
            so_far = did(plan, plan.node(job))
        del waiting[free[-1].name]
    return so_far


def shown(groups: Sequence[Group]) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {group.name: (len(group.jobs), group.after) for group in groups}


# -- parts ------------------------------------------------------------------------------------------------------------


def test_what_can_go_at_once_is_one_wave() -> None:
    groups = next_part(made(config(proxy={"seeds": 2}, reference={"losses": "stored"})))
    assert shown(groups) == {
        "1-reference": (2, ()),
        "1-main-0.1m": (2, ()),  # natural is the reference, so uniform is left
        "2-losses": (2, ("1-reference",)),
        "3-proxy": (2, ("1-reference", "2-losses")),
        "4-mixture": (1, ("3-proxy",)),
        "5-main-0.1m": (2, ("4-mixture",)),
        "6-validation-0.1m": (1, ("1-reference", "5-main-0.1m")),  # and the verdict waits for what it says
    }
    assert groups[1].jobs == ("0.1m/uniform/seed-0", "0.1m/uniform/seed-1")


def test_nothing_goes_before_the_corpus() -> None:
    assert [group.jobs for group in next_part(made(config(), Known()))] == [("prepare",)]
    uncounted = replace(known(config()), machine=None)
    assert [group.jobs for group in next_part(made(config(), uncounted))] == [("prepare",)]


def jobs_of(groups: dict[str, Group]) -> list[str]:
    return [job for group in groups.values() for job in group.jobs]


def test_more_jobs_than_an_array_holds_are_several_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in one of them, and what follows waits for those that it needs."""
    asked = config(proxy={"seeds": 3})
    whole = {group.name: group for group in next_part(made(asked))}
    monkeypatch.setattr(parts, "LARGEST", 2)
    found = {group.name: group for group in next_part(made(asked))}
    assert max(len(group.jobs) for group in found.values()) == 2
    assert found["1-reference"].jobs + found["1-reference-piece-2"].jobs == whole["1-reference"].jobs
    assert [job for group in found.values() for job in group.jobs] == [
        j for group in whole.values() for j in group.jobs
    ]
    proxies = [group for name, group in found.items() if "proxy" in name]
    assert [group.after for group in proxies] == [("1-reference",), ("1-reference-piece-2",)]


def test_what_is_not_known_yet_is_a_later_part() -> None:
    """Later rounds, models at equal compute, and the verdict, which follows from how many documents count."""
    asked = config(rounds={"max": 2}, candidates={"equal_compute": True})
    so_far, names = known(asked), list[list[str]]()
    for _ in range(3):
        groups = next_part(made(asked, so_far))
        names.append([group.name for group in groups])
        so_far = as_slurm_does(asked, so_far, groups)
    assert names == [
        ["1-reference", "1-main-0.1m", "2-proxy", "3-mixture"],
        ["1-reference", "2-proxy", "3-mixture", "4-main-0.1m", "5-validation-0.1m"],
        ["1-longer-0.1m", "2-verdict"],
    ]


def test_models_that_are_evaluated_anew_are_a_part_with_the_verdict() -> None:
    asked = config()
    done = finish_all(asked, part=(20, 30, 40))
    left = made(asked, replace(done.known, evaluated=frozenset()))
    assert shown(next_part(left)) == {"1-evaluation-0.1m": (6, ()), "2-verdict": (1, ("1-evaluation-0.1m",))}


@pytest.mark.parametrize("changes", [{}, LARGE, {"candidates": {"equal_compute": True}}], ids=["plain", "large", "eq"])
def test_every_piece_of_work_is_done_once(changes: dict[str, Any]) -> None:
    """Over all parts, and each is ready when its array may start."""
    asked = config(**changes)
    so_far, jobs = known(asked, tasks="{}"), list[str]()
    for _ in range(9):
        groups = next_part(made(asked, so_far))
        jobs += [job for group in groups for job in group.jobs]
        so_far = as_slurm_does(asked, so_far, groups)
    plan = made(asked, so_far)
    assert [node.id for node in plan.nodes if not plan.done(node)] == []
    identities = [plan.key(plan.node(job)) or job for job in jobs]
    assert len(identities) == len(set(identities))
    assert set(identities) == {plan.key(node) or node.id for node in plan.nodes} - {"prepare"}


# -- scripts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path) -> RunConfig:
    return config(runs=str(tmp_path / ODD / "50 %"), training={"threads": 3})


@pytest.fixture
def written(asked: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The part of a run whose corpus is there and whose reference of seed 0 has begun; `python` is a stub."""
    monkeypatch.setattr(slurm, "as_it_is", lambda *_: made(asked, begun(asked)))
    python = program(tmp_path / "bin/a python", 'printf "%s\\n" "$@" > argv; exec sleep 60')
    monkeypatch.setattr(slurm.sys, "executable", str(python))
    folder = slurm.begin(asked, tmp_path / ODD / "out", WISHES)
    assert folder is not None
    return folder


def begun(asked: RunConfig, **more: Any) -> Known:
    return known(asked, begun={"trainings/0": 3}, **more)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Ours, with the stubs of `tmp_path/bin` first."""
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", **more}


def test_every_script_is_bash_and_every_job_is_on_a_list(written: Path, asked: RunConfig) -> None:
    for script in written.glob("*.sh"):
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    listed = [line for path in written.glob("*.txt") for line in path.read_text().splitlines()]
    assert sorted(listed) == sorted(node.id for node in made(asked).work() if node.kind not in ("prepare", "verdict"))
    assert os.access(written / "submit.sh", os.X_OK)
    assert (written / "logs").is_dir()


def test_slurm_reads_what_a_job_takes(written: Path) -> None:
    def head(name: str) -> list[str]:
        lines = (written / name).read_text().splitlines()
        return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]

    assert head("1-main-0.1m.sh") == [
        "--job-name=run-1-main-0.1m", "--ntasks=1", "--array=1-3", "--cpus-per-task=3",
        "--output=logs/1-main-0.1m-%a.log", "--signal=B:USR1@60", "--kill-on-invalid-dep=yes",
        "--open-mode=append", "--requeue", "--partition=gpu --account=x", "--mem=4G",
    ]  # fmt: skip
    assert "--cpus-per-task=1" in head("3-mixture.sh")
    assert {"--requeue", "--mem=4G", "--output=logs/next.log"} <= set(head("next.sh"))


def test_one_gpu_for_what_trains_where_the_run_is_on_gpus(
    asked: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu = begun(asked, machine=Machine("cuda", True, 8, 8))
    monkeypatch.setattr(slurm, "as_it_is", lambda *_: made(asked, on_gpu))
    folder = slurm.begin(asked, tmp_path / "out")
    assert folder is not None
    with_gpu = sorted(path.stem for path in folder.glob("*.sh") if "#SBATCH --gres=gpu:1\n" in path.read_text())
    assert with_gpu == ["1-main-0.1m", "1-reference", "2-proxy", "4-main-0.1m"]
    assert "--gpu" in (folder / "next.sh").read_text()  # before a training has begun, nobody else knows


@pytest.mark.parametrize("task", [1, 2, 3])
def test_a_task_does_the_job_on_its_line(written: Path, asked: RunConfig, tmp_path: Path, task: int) -> None:
    program(tmp_path / "bin/a python", 'printf "%s\\0" "$@" > argv')
    command = ["bash", str(written / "1-main-0.1m.sh")]
    variables = environment(tmp_path, SLURM_ARRAY_TASK_ID=str(task))
    subprocess.run(command, cwd=tmp_path, env=variables, check=True)
    words = (tmp_path / "argv").read_text().split("\0")[:-1]
    listed = ["0.1m/uniform/seed-0", "0.1m/natural/seed-1", "0.1m/uniform/seed-1"]
    assert words == ["-m", "doremi", "job", str(asked.root), listed[task - 1]]
    assert not list(tmp_path.rglob("bad"))


def test_the_last_job_goes_on_with_the_same_options(written: Path, asked: RunConfig, tmp_path: Path) -> None:
    program(tmp_path / "bin/a python", 'printf "%s\\0" "$@" > argv')
    subprocess.run(["bash", str(written / "next.sh")], cwd=tmp_path, env=environment(tmp_path), check=True)
    assert (tmp_path / "argv").read_text().split("\0")[:-1] == [
        "-m", "doremi", "slurm", str(asked.root), "--out", str(written.parent), "--after", "1",
        "--sbatch", "--partition=gpu --account=x", "--sbatch", "--mem=4G",
    ]  # fmt: skip


SBATCH = """
printf '%s\\0' "$@" >> {log}; echo >> {log}
n=$(wc -l < {log})
[ "$n" = "{fails}" ] && exit 1
echo "$((100 + n));cluster"
"""


def test_submit_sends_each_job_once_with_what_it_waits_for(written: Path, tmp_path: Path) -> None:
    log = tmp_path / "sent"
    program(tmp_path / "bin/sbatch", SBATCH.format(log=log, fails=3))

    def submit() -> subprocess.CompletedProcess[str]:
        command = [str(written / "submit.sh")]
        return subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)

    assert submit().returncode == 1  # Slurm refused the third
    done = submit()
    assert done.stdout.splitlines() == [
        "1-reference 101", "1-main-0.1m 102", "2-proxy 104", "3-mixture 105", "4-main-0.1m 106",
        "5-validation-0.1m 107", "next 108",
    ]  # fmt: skip
    sent = [line.split("\0")[1:-1] for line in log.read_text().splitlines()]
    assert sent[2:] == [
        ["--dependency=afterok:101", "2-proxy.sh"],
        ["--dependency=afterok:101", "2-proxy.sh"],
        ["--dependency=afterok:104", "3-mixture.sh"],
        ["--dependency=afterok:105", "4-main-0.1m.sh"],
        ["--dependency=afterok:101:102:106", "5-validation-0.1m.sh"],
        ["--dependency=afterany:101:102:104:105:106:107", "next.sh"],
    ]
    assert submit().stdout == done.stdout
    assert len(log.read_text().splitlines()) == len(sent)


def test_submit_where_there_is_no_slurm_says_so(written: Path, tmp_path: Path) -> None:
    command = [str(written / "submit.sh")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "There is no sbatch here. Call this where Slurm's commands are, such as a login node.\n"
    assert not (written / "submitted.txt").exists()


HEARS = """
trap 'sleep 0.2; exit {code}' USR1 TERM
echo > hears
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize(
    ("number", "code", "again"),
    [(signal.SIGUSR1, 75, True), (signal.SIGTERM, 75, False), (signal.SIGUSR1, 0, False), (signal.SIGUSR1, 2, False)],
    ids=["time is nearly over", "ended by Slurm", "was done", "failed"],
)
def test_a_job_that_has_saved_goes_back_into_the_queue(
    written: Path, tmp_path: Path, number: signal.Signals, code: int, again: bool
) -> None:
    program(tmp_path / "bin/a python", HEARS.format(code=code))
    program(tmp_path / "bin/scontrol", 'echo "$@" > requeued')
    variables = environment(tmp_path, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_JOB_ID="7")
    with subprocess.Popen(["bash", str(written / "1-reference.sh")], cwd=tmp_path, env=variables) as task:
        while not (tmp_path / "hears").exists():
            time.sleep(0.02)
        task.send_signal(number)
    assert task.returncode == code
    assert (tmp_path / "requeued").exists() == again
    if again:
        assert (tmp_path / "requeued").read_text().split() == ["requeue", "Incomplete", "7_1"]


# -- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def finish_part(asked: RunConfig, monkeypatch: pytest.MonkeyPatch) -> Callable[[Known], None]:
    def set_disk(so_far: Known) -> None:
        monkeypatch.setattr(slurm, "as_it_is", lambda *_: made(asked, so_far))

    return set_disk


def test_what_failed_is_said_in_a_file_and_nothing_is_sent(
    written: Path, asked: RunConfig, finish_part: Callable[[Known], None]
) -> None:
    plan = made(asked, begun(asked))
    finish_part(did(plan, plan.node("doremi/reference/seed-0")))
    (written / "logs/1-main-0.1m-2.log").write_text("working ...\nerror: the disk is full\n\n")
    with pytest.raises(RunError, match=r"(?s)part 1 is over, and the run has stopped: see .*failed\.txt"):
        slurm.go_on(asked, written.parent, 1)
    said = (written.parent / "failed.txt").read_text()
    assert "ends with: error: the disk is full" in said
    assert "doremi/proxy/seed-0\n  never began" in said
    assert "doremi/reference/seed-0" not in said
    assert [path.name for path in written.parent.glob("part-*")] == ["part-1"]
    assert slurm.begin(asked, written.parent) == written.parent / "part-2"
    assert not (written.parent / "failed.txt").exists()


def test_the_next_part_is_written_and_sent_once(
    asked: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = asked.model_copy(update={"candidates": config(candidates={"equal_compute": True}).candidates})
    so_far = begun(longer)
    monkeypatch.setattr(slurm, "as_it_is", lambda *_: made(longer, so_far))
    monkeypatch.setenv("PATH", environment(tmp_path)["PATH"])
    program(tmp_path / "bin/sbatch", SBATCH.format(log=tmp_path / "sent", fails=0))
    first = slurm.begin(longer, tmp_path / "out")
    assert first is not None
    so_far = as_slurm_does(longer, so_far, next_part(made(longer, so_far)))
    said = slurm.go_on(longer, tmp_path / "out", 1)
    assert said.splitlines() == ["1-longer-0.1m 101", "2-verdict 102", "next 103"]
    assert slurm.go_on(longer, tmp_path / "out", 1) == said  # put back into the queue after it had sent them
    assert len((tmp_path / "sent").read_text().splitlines()) == 3
    so_far = as_slurm_does(longer, so_far, next_part(made(longer, so_far)))
    reports = list[Path]()
    monkeypatch.setattr(slurm, "write_report", lambda run: reports.append(run.root))
    assert "everything is done" in slurm.go_on(longer, tmp_path / "out", 2)
    assert reports == [longer.root]  # the job that judged was ended before it had written one
    assert slurm.begin(longer, tmp_path / "out") is None


def test_a_part_that_slurm_refuses_is_said_in_the_file(
    written: Path, asked: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin/sbatch", 'echo "sbatch: error: no such partition" >&2; exit 1')
    monkeypatch.setenv("PATH", environment(tmp_path)["PATH"])
    (written.parent / "part-2").mkdir()
    (written / "submit.sh").rename(written.parent / "part-2/submit.sh")
    with pytest.raises(RunError, match="the run has stopped"):
        slurm.go_on(asked, written.parent, 1)
    assert "no such partition" in (written.parent / "failed.txt").read_text()


def test_a_job_that_cannot_be_is_not_sent_for_ever(
    asked: RunConfig, tmp_path: Path, finish_part: Callable[[Known], None]
) -> None:
    """The corpus is there, but preparing this run failed: its trainings have no keys yet."""
    finish_part(replace(known(asked), machine=None))
    assert slurm.begin(asked, tmp_path / "out") is not None
    with pytest.raises(RunError, match="the run has stopped"):
        slurm.go_on(asked, tmp_path / "out", 1)
    assert "prepare\n  never began" in (tmp_path / "out/failed.txt").read_text()


# -- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--partition=gpu\necho", "on one line"),
        ("partition", "on one line"),
        ("--mem=1G -a 1-4", "set by doremi"),
        ("--dependency=after:3", "set by doremi"),
        ("--export=ALL,WANDB_API_KEY=s3cret", "set variables where you call submit.sh"),
        ("--export=ALL,MINE=s3cret\n", "set variables where you call submit.sh"),
        ("--comment=hf_s3crets3crets3crets3cret", "an option holds an access token"),
        ("--comment=of-the-environment-s3cret", "an option holds a value of the environment that is secret"),
    ],
)
def test_options_that_cannot_be_are_refused(
    written: Path, asked: RunConfig, monkeypatch: pytest.MonkeyPatch, option: str, said: str
) -> None:
    monkeypatch.setenv("MY_API_KEY", "of-the-environment-s3cret")
    with pytest.raises(ConfigError, match=said) as error:
        slurm.begin(asked, written.parent, slurm.Wishes(options=(option,)))
    assert "s3cret" not in str(error.value)
    assert [path.name for path in written.parent.glob("part-*")] == ["part-1"]


def test_a_folder_whose_name_slurm_would_change_is_refused(written: Path, asked: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gives % and"):
        slurm.begin(asked, tmp_path / "part %j")


def test_cores_are_the_recorded_threads_or_must_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(runs=str(tmp_path / "runs"))
    disk = known(asked)
    monkeypatch.setattr(slurm, "as_it_is", lambda *_: made(asked, disk))
    with pytest.raises(ConfigError, match="Say how many cores a job takes"):
        slurm.begin(asked, tmp_path / "out")
    disk = begun(asked, machine=Machine("cpu", False, 64, 5))
    folder = slurm.begin(asked, tmp_path / "out")
    assert folder is not None
    assert "--cpus-per-task=5\n" in (folder / "1-reference.sh").read_text()


def test_a_run_begins_with_a_job_that_records_its_machine(
    asked: RunConfig, tmp_path: Path, finish_part: Callable[[Known], None]
) -> None:
    """The corpus may be there; what a login node is must not reach a training."""
    finish_part(known(asked, machine=Machine("cuda", True, 64, 64)))
    folder = slurm.begin(asked, tmp_path / "out")
    assert folder is not None
    assert sorted(path.name for path in folder.glob("*.sh")) == ["1-prepare.sh", "next.sh", "submit.sh"]
    assert "--gres" not in (folder / "1-prepare.sh").read_text()


def test_the_command_records_the_run_and_begins_with_its_corpus(tmp_path: Path) -> None:
    place = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs")
    words = ["slurm", str(place), "--out", str(tmp_path / "out"), "--set", "training.threads=2", "--gpu"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.stdout.splitlines() == [
        f"{tmp_path}/out/part-1: 1-prepare",
        f"To send them: {tmp_path}/out/part-1/submit.sh",
    ]
    script = (tmp_path / "out/part-1/1-prepare.sh").read_text()
    assert "--cpus-per-task=2\n" in script
    assert "--gres=gpu:1\n" in script
    assert "threads: 2" in (tmp_path / "runs/tiny/config.yaml").read_text()
    assert (tmp_path / "out/part-1/1-prepare.txt").read_text() == "prepare\n"
    state = json.loads((tmp_path / "runs/tiny/status.json").read_text())
    assert state["state"] == "done"
