"""The folder of a part: scripts for Slurm, lists of their jobs, what sends them, and room for their logs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from doremi.credentials import what_is_secret
from doremi.errors import ConfigError, one_line
from doremi.executors import scripts
from doremi.executors.scripts import Cluster, Sent, Tasks

SUBMIT = "submit.sh"
_OURS = re.compile(r"(^|\s)(--array|-a|--dependency|-d|--wrap)\b")
_VALUE = re.compile(r"(^|\s)--export[=\s]\S*=")


def check_asked(out: Path, options: Sequence[str] = ()) -> None:
    """`ConfigError` for a folder whose name Slurm would change, and for options of sbatch that cannot be."""
    for line in options:
        _check_option(line)
    if set("%\\") & set(str(out.absolute())):
        raise ConfigError(f"{one_line(str(out))}: Slurm gives % and \\ a meaning in the names of logs; use none")


def _check_option(line: str) -> None:
    shown = one_line(line)
    if _VALUE.search(line):  # it may be a password, and scripts are read by others
        raise ConfigError("--sbatch --export: set variables where you call submit.sh; jobs inherit them from there")
    if (kind := what_is_secret(line)) is not None:
        raise ConfigError(f"--sbatch: an option holds {kind}, and scripts are read by others; leave it out")
    if not line.startswith("-") or not line.isprintable():
        raise ConfigError(f"--sbatch {shown}: give options of sbatch on one line, such as '--partition=gpu'")
    if _OURS.search(line):
        raise ConfigError(f"--sbatch {shown}: arrays and dependencies are set by doremi; edit the scripts for others")


def next_number(out: Path) -> int:
    """One more than the parts that are there."""
    taken = [int(path.name.removeprefix("part-")) for path in out.glob("part-*") if path.name[5:].isdigit()]
    return 1 + max(taken, default=0)


def write_part(
    cluster: Cluster, number: int, arrays: Sequence[Tasks], sent: Sequence[Sent], more: Mapping[str, str] | None = None
) -> Path:
    """Part `number`, whole or not at all; its folder. `more` are further scripts by name."""
    folder = cluster.part(number)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "logs").mkdir(parents=True)
    for tasks in arrays:
        _put(temporary / f"{tasks.name}.txt", "".join(f"{job}\n" for job in tasks.jobs))
        _put(temporary / f"{tasks.name}.sh", scripts.array(cluster, number, tasks))
    for name, text in (more or {}).items():
        _put(temporary / f"{name}.sh", text)
    _put(temporary / SUBMIT, scripts.submission(cluster, number, sent))
    (temporary / SUBMIT).chmod(0o755)
    temporary.rename(folder)
    return folder


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
