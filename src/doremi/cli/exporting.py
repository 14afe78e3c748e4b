"""`doremi export`, `doremi sample` and `doremi import`: mixtures to and from the files of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from doremi.cli.folders import only_here
from doremi.cli.slurm import shards_on_slurm
from doremi.errors import ExportError

SLURM = "slurm:"
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/demo.")]
PathsOption = Annotated[
    Path | None,
    typer.Option("--paths", metavar="FILE", help="A YAML file: paths, sizes and mean lengths of your own data."),
]
MixtureOption = Annotated[
    str | None,
    typer.Option("--mixture", metavar="NAME", help="A mixture of the run, or a file. Default: the recommended one."),
]
PathOption = Annotated[
    list[str] | None,
    typer.Option("--path", metavar="NAME=PLACE", help="A path of one domain, for example web=/data/web. Repeatable."),
]


def export(
    run: RunArgument,
    to: Annotated[
        str,
        typer.Option("--to", metavar="TARGET", help="The trainer, such as megatron; `help` lists all."),
    ],
    mixture: MixtureOption = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="TOKENS", help="Tokens of the final run, such as 300B. It gives the epochs."),
    ] = None,
    paths: PathsOption = None,
    path: PathOption = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule", metavar="STAGES", help="Stages of weights: a file, or steps:4 or changes:4 along the search."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write, or an address. Default: RUN/export/TARGET."),
    ] = None,
) -> None:
    """Write a mixture as the data configuration of another training framework."""
    from doremi.export import Options
    from doremi.export import export as write_export
    from doremi.rundir.layout import RunDirectory

    options = Options(budget, paths, tuple(path or ()), schedule)
    for written in write_export(RunDirectory(run), to, mixture=mixture, out=out, options=options, say=_say):
        typer.echo(str(written))


def sample(
    run: RunArgument,
    tokens: Annotated[
        str, typer.Option("--tokens", metavar="TOKENS", help="How many to draw, such as 10B, to within a document.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="What is written: flat, megatron, parquet or jsonl.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where to write: a new folder.", callback=only_here)
    ],
    mixture: MixtureOption = None,
    paths: PathsOption = None,
    path: PathOption = None,
    jobs: Annotated[
        str | None,
        typer.Option(
            "--jobs",
            metavar="WHAT",
            help="slurm:FOLDER writes scripts for Slurm there. Their jobs say begin, a share such as 3/16, or end.",
        ),
    ] = None,
) -> None:
    """Draw a data set of whole documents by a mixture. Run the same command to go on after a stop."""
    from doremi.export.mapping import read_places
    from doremi.export.sampled import sample as draw
    from doremi.export.sampled.stint import ALL, How, stint_given
    from doremi.rundir.layout import RunDirectory

    directory = RunDirectory(run)
    places = read_places(paths, path or (), list(directory.corpus().domains)) if paths or path else None
    asked: dict[str, Any] = {"tokens": tokens, "to": to, "out": out, "mixture": mixture, "places": places}
    if jobs is not None and jobs.startswith(SLURM):
        words = _words(run, asked, paths, path or ())
        typer.echo(shards_on_slurm(directory, asked, words, Path(jobs.removeprefix(SLURM))))
        return
    how = How(stint=stint_given(jobs))
    if how.stint == ALL and (executor := directory.config().get("executor", "local")) != "local":
        from doremi.executors.ray_shards import write_on_ray

        how = How(partial(write_on_ray, executor))
    typer.echo(str(draw(directory, **asked, how=how, say=_say)))


def _words(run: Path, asked: Mapping[str, Any], paths: Path | None, path: Sequence[str]) -> list[str]:
    """The same command again."""
    given = {**{name: asked[name] for name in ("tokens", "to", "out", "mixture")}, "paths": paths}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return ["sample", str(run), *options, *(f"--path={one}" for one in path)]


def import_(
    run: RunArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file with weights, or a published mixture's name.")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What the mixture is called in the run.")],
    form: Annotated[
        str | None,
        typer.Option("--from", metavar="FORM", help="What the file is: a target of `doremi export`, such as megatron."),
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", metavar="UNIT", help="What the weights count, tokens or documents.")
    ] = None,
    paths: PathsOption = None,
    path: PathOption = None,
) -> None:
    """Take weights of another program as a named mixture of a run, to compare, limit and export."""
    from doremi.export.imports import Source, import_mixtures
    from doremi.rundir.layout import RunDirectory

    source = Source(file, form, _unit(unit), paths, tuple(path or ()))
    written = import_mixtures(RunDirectory(run), source, name, _say)
    for one in written:
        typer.echo(str(one))
    _say(f"export it with --mixture {written[0].stem}. To compare it, add its file to candidates.mixtures")


def _say(note: str) -> None:
    typer.echo(f"note: {note}", err=True)


def _unit(given: str | None) -> Literal["tokens", "documents"] | None:
    if given is None or given == "tokens":
        return given
    if given == "documents":
        return "documents"
    raise ExportError(f"--unit {given!r}: should be tokens or documents")
