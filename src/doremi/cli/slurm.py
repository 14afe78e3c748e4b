"""`doremi slurm`, and `doremi sample --jobs slurm:FOLDER`: options, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doremi.cli.folders import only_here

if TYPE_CHECKING:
    from doremi.config import RunConfig
    from doremi.executors.slurm import Wishes
    from doremi.rundir.layout import RunDirectory

OutOption = Annotated[
    Path, typer.Option("--out", metavar="FOLDER", help="Where the scripts are written.", callback=only_here)
]
SbatchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sbatch", metavar="OPTIONS", help="Options of sbatch for every job, such as '--partition=gpu'. Repeatable."
    ),
]
GpuOption = Annotated[
    bool,
    typer.Option("--gpu", help="Each job that trains has one GPU. Known by itself once a training has begun on one."),
]
AfterOption = Annotated[
    int | None,
    typer.Option("--after", metavar="PART", help="Send what follows this part. The last job of each part does so."),
]


def is_recorded(config: RunConfig) -> bool:
    """Whether the run directory has this configuration, which its jobs read."""
    from doremi.config import dump

    path = config.root / "config.yaml"
    return path.exists() and path.read_text(encoding="utf-8") == dump(config)


def scripts(config: RunConfig, out: Path, wishes: Wishes, after: int | None) -> str:
    """Write a part, and for `after` send it; what the user sees."""
    from doremi.executors import slurm

    if after is not None:
        return slurm.go_on(config, out, after, wishes)
    folder = slurm.begin(config, out, wishes)
    if folder is None:
        return f"{config.root}: everything is done"
    return _written(folder)


def shards_on_slurm(run: RunDirectory, asked: Mapping[str, Any], words: Sequence[str], out: Path) -> str:
    """Write scripts for what `words` of `doremi sample` ask; what the user sees. Nothing of the data is read here."""
    from doremi.executors.slurm_shards import write_scripts
    from doremi.export.mapping import check_complete
    from doremi.export.read import Asked, read_blend
    from doremi.export.sampled import check_asked, most_asked

    tokens = check_asked(run, tokens=asked["tokens"], to=asked["to"], out=asked["out"])
    blend = read_blend(run, asked=Asked(asked["mixture"], tokens, lengths=False))
    check_complete(asked["places"] or {}, {domain.name: float(domain.weight) for domain in blend.domains})
    cores = run.config().get("data", {}).get("workers") or 1
    return _written(write_scripts(run.root, words, most_asked(tokens), out, cores if asked["places"] else 1))


def _written(folder: Path) -> str:
    from doremi.executors.part_folder import SUBMIT

    arrays = sorted(path.stem for path in folder.glob("*.sh") if path.stem not in ("submit", "next"))
    return "\n".join([f"{folder}: {', '.join(arrays)}", f"To send them: {folder / SUBMIT}"])
