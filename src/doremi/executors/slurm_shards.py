"""The shards of a data set as an array of Slurm: one job begins, each task writes a share, and a last job ends.

The tasks give the very command that was given here, each with its own `--jobs`. So they write the same bytes, and a
task that goes back into the queue writes only the shards that it has not written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join, quote

from doremi.executors.part_folder import check_asked, next_number, write_part
from doremi.executors.parts import LARGEST
from doremi.executors.scripts import Cluster, Sent, Tasks
from doremi.export.sampled.stint import BEGIN, END


def write_scripts(run: Path, words: Sequence[str], shards: int, out: Path, cores: int) -> Path:
    """Write a part that gives `doremi WORDS` for so many shards at most; its folder.

    `cores` are those of the job that begins, which may read text. Relative paths in the words count from the folder
    that this process was started in. `ConfigError` for a folder whose name Slurm would change.
    """
    check_asked(out)
    cluster = Cluster(run.absolute(), out.absolute(), sys.executable, 1)
    command = f"cd -- {quote(str(Path.cwd()))} && exec {cluster.doremi(*words, '--jobs')}"
    shares = min(shards, LARGEST)
    todo = {
        "1-begin": ("Counts what is drawn", [BEGIN.name]),
        "2-shards": ("Writes the shards", [f"{number}/{shares}" for number in range(1, shares + 1)]),
        "3-end": ("Ends the data set", [END.name]),
    }
    arrays = [
        Tasks(name, f"{title} for: doremi {join(words)}", tuple(jobs), command, cores if name == "1-begin" else 1)
        for name, (title, jobs) in todo.items()
    ]
    sent = [Sent("1-begin"), Sent("2-shards", after=("1-begin",)), Sent("3-end", "afterany", ("2-shards",))]
    return write_part(cluster, next_number(out), arrays, sent)
