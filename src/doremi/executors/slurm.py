"""A run on Slurm: written as parts, each a folder of scripts whose last job writes and sends the next part.

    OUT/part-1/1-reference.sh, .txt   an array of jobs, and which jobs these are
    OUT/part-1/next.sh                what goes on when all of them are over
    OUT/part-1/submit.sh              sends them all; submitted.txt has their numbers
    OUT/part-1/logs/                  what they print
    OUT/failed.txt                    why the run does not go on by itself, if it does not

Nothing of the run is computed here: whoever writes the scripts may be on a login node, where that is not welcome.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from doremi.config import RunConfig
from doremi.errors import ConfigError, RunError, one_line
from doremi.executors import scripts
from doremi.executors.part_folder import SUBMIT, check_asked, next_number, write_part
from doremi.executors.parts import Group, first_part, is_begun, next_part
from doremi.executors.scripts import Cluster
from doremi.files import write_bytes
from doremi.pipeline.planning import as_it_is
from doremi.report import write_report
from doremi.rundir.graph import Graph
from doremi.rundir.known import Known
from doremi.rundir.layout import RunDirectory
from doremi.rundir.node import Node
from doremi.verdict import walk

FAILED, SENT = "failed.txt", "submitted.txt"


@dataclass(frozen=True)
class Wishes:
    """What scripts are written with: a GPU for each training, going on along the plan of looks, options of sbatch."""

    gpu: bool = False
    until_decided: bool = False
    options: tuple[str, ...] = ()


def begin(config: RunConfig, out: Path, wishes: Wishes = Wishes()) -> Path | None:
    """Write a part with what is to be done now; its folder, None where the run is done.

    `ConfigError` for options that cannot be and where nobody knows how many cores a job takes. `RunError` where what
    is left waits for something that no job makes.
    """
    plan, _ = _plan(config, wishes)
    if _is_done(plan):
        return None
    cluster = _cluster(config, plan.known, out, replace(wishes, gpu=wishes.gpu or _began_on_gpu(plan.known)))
    # What a training's bytes depend on is recorded by a job on a node, not by whoever writes the scripts.
    groups = next_part(plan) if _has_begun(plan.known) or plan.known.shards else first_part()
    if not groups:
        raise RunError(f"{config.root}: no job can go now. {_waiting(plan)}")
    return _write(cluster, groups)


def go_on(config: RunConfig, out: Path, after: int, wishes: Wishes = Wishes()) -> str:
    """What the last job of part `after` does; what it says. `RunError` where the run does not go on by itself.

    The reason is then in failed.txt too. Doing it again is harmless.
    """
    plan, words = _plan(config, wishes)
    gpu = wishes.gpu or (plan.known.machine is not None and plan.known.machine.device == "cuda")
    cluster = _cluster(config, plan.known, out, replace(wishes, gpu=gpu))
    folder = cluster.part(after + 1)
    if not folder.exists():
        if left := _left(cluster.part(after), plan):
            raise _gives_up(cluster, after, "These jobs are not done:", left)
        if _is_done(plan):
            _report(config)
            return " ".join(filter(None, [f"{config.root}: everything is done.", words]))
        if not (groups := next_part(plan)):
            raise _gives_up(cluster, after, "Nothing else can go:", [_waiting(plan)])
        folder = _write(cluster, groups)
    sent = subprocess.run(["bash", str(folder / SUBMIT)], capture_output=True, text=True, check=False)
    if sent.returncode:
        raise _gives_up(cluster, after, f"{folder / SUBMIT} failed:", [sent.stdout + sent.stderr])
    return sent.stdout.rstrip()


# -- what is asked for -------------------------------------------------------------------------------------------------


def _plan(config: RunConfig, wishes: Wishes) -> tuple[Graph, str]:
    """The run as it is now, with the seeds of the next look where its plan goes on; else why it does not, in words."""
    if not wishes.until_decided:
        return as_it_is(config, RunDirectory(config.root)), ""
    walk.set_off(config)
    plan, words = as_it_is(config, RunDirectory(config.root)), ""
    if _is_done(plan):
        words = walk.go_on(config).words
        plan = as_it_is(config, RunDirectory(config.root))
    return plan, words


def _cluster(config: RunConfig, known: Known, out: Path, wishes: Wishes) -> Cluster:
    check_asked(out, wishes.options)
    return Cluster(
        config.root.absolute(), out.absolute(), sys.executable, _cores(config, known), wishes.gpu,
        wishes.until_decided, wishes.options,
    )  # fmt: skip


def _cores(config: RunConfig, known: Known) -> int:
    """Of a job that trains: the threads that are part of what is trained."""
    if config.training.threads != "auto":
        return config.training.threads
    if known.machine is None or not _has_begun(known):
        raise ConfigError(
            "training.threads is auto, and no training has begun here. Say how many cores a job takes on a node, "
            "for example --set training.threads=8"
        )
    return known.machine.threads


def _has_begun(known: Known) -> bool:
    """Whether a training has: from then on its machine's facts stay as they are."""
    return bool(known.trained or known.begun)


def _began_on_gpu(known: Known) -> bool:
    return _has_begun(known) and known.machine is not None and known.machine.device == "cuda"


# -- writing -----------------------------------------------------------------------------------------------------------


def _write(cluster: Cluster, groups: Sequence[Group]) -> Path:
    """The next part."""
    arrays = [scripts.of_group(cluster, group) for group in groups]
    number = next_number(cluster.out)
    more = {scripts.NEXT: scripts.follower(cluster, number)}
    folder = write_part(cluster, number, arrays, scripts.of_run(groups), more)
    (cluster.out / FAILED).unlink(missing_ok=True)
    return folder


# -- looking back ------------------------------------------------------------------------------------------------------


def _is_done(plan: Graph) -> bool:
    """Rounds that turned out not to be needed are no part of a plan any more."""
    return all(plan.done(node) for node in plan.nodes)


def _report(config: RunConfig) -> None:
    """Write the report where the job that judged was ended before it had."""
    if _written_at(config.root / "report.html") <= _written_at(config.root / "verdict.json"):
        write_report(RunDirectory(config.root))


def _written_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _left(folder: Path, plan: Graph) -> list[str]:
    """The jobs of a part that are not done, with what their logs end with."""
    lists = {path.stem: path.read_text("utf-8").splitlines() for path in sorted(folder.glob("*.txt"))}
    lists.pop(Path(SENT).stem, None)
    mine = {job for jobs in lists.values() for job in jobs}
    return [
        f"{job}\n{_end_of(folder / 'logs' / f'{name}-{line}.log')}"
        for name, jobs in lists.items()
        for line, job in enumerate(jobs, 1)
        if job in plan.by_id and not _is_over(plan, plan.node(job), mine)
    ]


def _is_over(plan: Graph, node: Node, mine: Set[str]) -> bool:
    """Whether a job of a part, which did `mine`, is done; a verdict also where the run has other models since."""
    if node.kind == "prepare":
        return is_begun(plan)
    return plan.done(node) or (node.kind == "verdict" and bool(set(plan.unfinished(node)) - mine))


def _end_of(log: Path) -> str:
    if not log.exists():
        return "  never began: what it needs is not done, or it was cancelled"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"  its log: {log}\n  ends with: {one_line(last)}"


def _waiting(plan: Graph) -> str:
    """What the first node that is not done waits for."""
    node = next(node for node in plan.nodes if not plan.done(node))
    left = plan.unfinished(node)
    return f"{node.id} {f'waits for {left[0]}' if left else node.waits}"


def _gives_up(cluster: Cluster, after: int, why: str, left: Sequence[str]) -> RunError:
    """Written down for a person, and returned to be raised: nothing is sent any more."""
    path = cluster.out / FAILED
    again = f"Fix that and give `doremi slurm` again. It writes what is left. Then call the new {SUBMIT}."
    text = "\n".join([f"Part {after} of {cluster.run} is over, and the run has stopped. {why}", "", *left, "", again])
    write_bytes(path, f"{text}\n".encode())
    return RunError(f"part {after} is over, and the run has stopped: see {path}")
