"""The text of a part's scripts: plain bash, which a person can read and edit.

Paths are absolute and quoted. `#SBATCH` lines hold none but `logs/...`, for Slurm has rules of its own for quotes and
percent signs there. That one is relative to where `sbatch` was called, and `submit.sh` calls it in the part's folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join, quote

from doremi.errors import one_line
from doremi.executors.parts import Group

GRACE_SECONDS = 60  # before the end of a job's time: what saving a training may take
LIGHT = ("shard", "corpus", "mixture", "validation", "verdict")  # kinds of jobs that train and ask no model
AGAIN = 75  # exit code of a command that was asked to stop and has saved its work


@dataclass(frozen=True)
class Cluster:
    """What every script of a run is written with."""

    run: Path
    """The run directory, absolute; all nodes see it."""
    out: Path
    """Folder of the parts, absolute."""
    python: str
    """The interpreter that has doremi."""
    cores: int
    """Of a job that trains: as many as the threads that its bytes depend on."""
    gpu: bool = False
    """Whether a job that trains has one GPU."""
    until_decided: bool = False
    """Whether the last job of a part goes on along the plan of looks."""
    options: tuple[str, ...] = ()
    """More for `sbatch`, one line of a script each."""

    def part(self, number: int) -> Path:
        """The folder of a part."""
        return self.out / f"part-{number}"

    def doremi(self, *words: str) -> str:
        """A doremi command as a line of a script."""
        return join([self.python, "-m", "doremi", *words])


@dataclass(frozen=True)
class Tasks:
    """An array: each task does what stands on its line of the list `name`.txt."""

    name: str
    title: str
    """What the script does, in a sentence."""
    jobs: tuple[str, ...]
    command: str
    """A line of a script that gets the job as its last word."""
    cores: int
    gpu: bool = False


def of_group(cluster: Cluster, group: Group) -> Tasks:
    """The jobs of a group."""
    heavy = group.kind not in LIGHT
    title = f"Does the jobs in {group.name}.txt, one a task, for the run {cluster.run}."
    command = cluster.doremi("job", str(cluster.run))
    return Tasks(group.name, title, group.jobs, command, cluster.cores if heavy else 1, heavy and cluster.gpu)


def array(cluster: Cluster, number: int, tasks: Tasks) -> str:
    """The script of one array of a part."""
    listed = cluster.part(number) / f"{tasks.name}.txt"
    lines = [
        f"--array=1-{len(tasks.jobs)}",
        f"--cpus-per-task={tasks.cores}",
        *(["--gres=gpu:1"] if tasks.gpu else []),
        f"--output=logs/{tasks.name}-%a.log",
        f"--signal=B:USR1@{GRACE_SECONDS}",
        "--kill-on-invalid-dep=yes",
    ]
    body = _TASK.format(listed=quote(str(listed)), command=tasks.command, again=AGAIN)
    return _head(cluster, tasks.name, tasks.title, lines) + body


_TASK = """
set -u
job=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {listed})
echo "$(date '+%F %T') $(hostname): $job"

# Slurm sends USR1 to this script before the time of the job is over, and TERM when it ends the job.
# Either asks doremi to save and stop. It then ends with {again}, and the same job resumes exactly there.
# After USR1 we put the job back into the queue. After TERM Slurm does so, or somebody has cancelled the job.
child= heard=no asked=no ended=no
trap 'heard=yes asked=yes; kill -USR1 "$child" 2> /dev/null' USR1
trap 'heard=yes ended=yes; kill -TERM "$child" 2> /dev/null' TERM
{command} "$job" &
child=$!
[ "$asked" = yes ] && kill -USR1 "$child"  # a signal that came before there was a child
[ "$ended" = yes ] && kill -TERM "$child"
while :; do
  heard=no code=0
  wait "$child" || code=$?
  [ "$heard" = no ] && break  # else a signal has ended the wait, and not the job
done
again=no
[ "$code" = {again} ] && again=yes
[ "$code" -gt 128 ] && again=$asked  # the signal came before doremi could hear it
if [ "$again" = yes ] && [ "$ended" = no ]; then
  scontrol requeue Incomplete "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"""


def follower(cluster: Cluster, number: int) -> str:
    """The last job of a part, which runs when all others are over, however they ended."""
    words = ["slurm", str(cluster.run), "--out", str(cluster.out), "--after", str(number)]
    words += ["--gpu"] if cluster.gpu else []
    words += ["--until", "decided"] if cluster.until_decided else []
    for options in cluster.options:
        words += ["--sbatch", options]
    title = f"Sends the next part of the run {cluster.run}, or says what this one has left undone."
    return _head(cluster, NEXT, title, ["--cpus-per-task=1", f"--output=logs/{NEXT}.log"]) + (
        f"\nexec {cluster.doremi(*words)}\n"
    )


NEXT = "next"


@dataclass(frozen=True)
class Sent:
    """A script that is sent when those named in `after` are over: `afterok` or, however they ended, `afterany`."""

    name: str
    when: str = "afterok"
    after: tuple[str, ...] = ()


def of_run(groups: Sequence[Group]) -> list[Sent]:
    """The groups of a part and what goes on after all of them."""
    sent = [Sent(group.name, after=group.after) for group in groups]
    return [*sent, Sent(NEXT, "afterany", tuple(one.name for one in sent))]


def submission(cluster: Cluster, number: int, sent: Sequence[Sent]) -> str:
    """submit.sh: sends all jobs of a part and prints their numbers; what it has sent before is not sent again."""
    variables = {one.name: f"job{place}" for place, one in enumerate(sent, 1)}
    text = _SUBMIT.format(number=number, run=one_line(str(cluster.run)), folder=quote(str(cluster.part(number))))
    for one in sent:
        needs = "".join(f":${variables[name]}" for name in one.after)
        text += f"send {one.name}" + (f" --dependency={one.when}{needs}" if needs else "")
        text += f"; {variables[one.name]}=$id\n"
    return text


_SUBMIT = """\
#!/bin/bash
# Sends part {number} of the run {run} to Slurm, and prints the number of each job.
# A second call sends only what the first could not.
set -eu
cd -- {folder}
command -v sbatch > /dev/null || {{
  echo "There is no sbatch here. Call this where Slurm's commands are, such as a login node." >&2
  exit 1
}}
touch submitted.txt

send() {{  # the name of a script, options of sbatch; the number of its job is then in $id
  name=$1
  shift
  id=$(sed -n "s/^$name //p" submitted.txt)
  if [ -z "$id" ]; then
    id=$(sbatch --parsable "$@" "$name.sh")
    id=${{id%%;*}}
    echo "$name $id" >> submitted.txt
  fi
  echo "$name $id"
}}

"""


def _head(cluster: Cluster, name: str, title: str, lines: Sequence[str]) -> str:
    """The part of a script that Slurm reads."""
    called = re.sub(r"[^A-Za-z0-9._-]", "_", f"{cluster.run.name}-{name}")
    all_lines = [f"--job-name={called}", "--ntasks=1", *lines, "--open-mode=append", "--requeue", *cluster.options]
    return "\n".join(["#!/bin/bash", f"# {one_line(title)}", *(f"#SBATCH {line}" for line in all_lines), ""])
