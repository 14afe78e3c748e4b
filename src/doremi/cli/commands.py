"""The command line: parse, load, call one function per command, print. Heavy imports wait for the command."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doremi import __version__
from doremi.cli import exporting
from doremi.cli.opened import opened
from doremi.cli.slurm import AfterOption, GpuOption, OutOption, SbatchOption
from doremi.cli.streams import lasting_streams
from doremi.cli.tune import SizesOption
from doremi.cli.until import UntilOption, may_walk
from doremi.credentials import masked
from doremi.errors import DoremiError, Interrupted

if TYPE_CHECKING:
    from doremi.config import RunConfig

# What the machine may refuse at any moment, and a person can mend; any other is a mistake of ours and shown whole.
SURROUNDINGS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE,
    errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN,
)  # fmt: skip

app = typer.Typer(
    name="doremi",
    help="How much of each kind of text should a language model see? doremi finds a mixture with DoReMi "
    "(arXiv:2305.10429) on your data. It trains models on that mixture and on the obvious ones, and compares them.",
    epilog="Start with `doremi init my.yaml FOLDER`, then `doremi run my.yaml`. Run the same command to resume an "
    "interrupted run. Finished stages are skipped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PlaceArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG|RUN", help="The run's YAML file, or its run directory, such as runs/demo.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, for example training.steps=200. Repeatable."),
]

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="FIRST:LAST", help="Write a trace of these steps of each training, such as 5:8."),
]


def _load(place: Path, overrides: list[str] | None) -> RunConfig:
    from doremi.config import load, load_run

    return (load_run if place.is_dir() else load)(place, overrides or [])


def _with_profile(overrides: list[str] | None, steps: str | None) -> list[str]:
    """`--profile 5:8` is the setting `profile`, for this command."""
    return [*(overrides or []), *([] if steps is None else [f'profile="{steps}"'])]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"doremi {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# -- commands ---------------------------------------------------------------------------------------------------------


@app.command()
def init(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file to write.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="A folder with a folder or a file for each domain, or its address. With --domain-field also a file.",
        ),
    ],
    text_field: Annotated[
        str, typer.Option(metavar="NAME", help="Field or column of the text, such as text or meta.body.")
    ] = "text",
    domain_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="Field that names each document's domain, such as meta.source.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Tokenizer, by folder or Hugging Face name. It is needed for token files."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented configuration for a corpus, and show what is in it."""
    from doremi.cli.init import Asked, write_config

    typer.echo(write_config(config, Asked(source, text_field, domain_field, tokenizer), force=force))


@app.command()
def run(
    place: PlaceArgument,
    set_: SetOption = None,
    until: UntilOption = None,
    profile: ProfileOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
) -> None:
    """Do everything, from raw text to the report."""
    loaded = _load(place, _with_profile(set_, profile))
    if until is not None:
        may_walk(loaded)
    if dry_run:
        from doremi.cli.status import describe

        typer.echo(describe(loaded))
        return
    with opened(loaded, search=True, drives=True, whole=True) as space:
        from doremi.cli.result import result_text
        from doremi.executors.choose import chosen
        from doremi.pipeline.run import everything
        from doremi.pipeline.walking import until_decided

        if until is None:
            if (verdict := everything(space, chosen)) is not None:
                typer.echo(result_text(loaded, verdict))
        elif (looked := until_decided(space, chosen)) is not None:
            typer.echo(result_text(loaded, looked[0], looked[1].words))


@app.command()
def plan(
    place: PlaceArgument,
    set_: SetOption = None,
    final_size: Annotated[
        str | None,
        typer.Option(
            "--final-size", metavar="PRESET", help="Size of the final model. Default: the largest candidate's."
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="On a GPU, measure some steps. Default: arithmetic."),
    ] = False,
) -> None:
    """Show what a run will cost before it starts, in time, memory and disk, and what would be cheaper."""
    from doremi.plan.plan import make
    from doremi.plan.table import text

    config = _load(place, set_)
    typer.echo(text(make(config, final_size, lambda message: typer.echo(message, err=True), measure=measure)))


@app.command()
def prepare(
    place: PlaceArgument,
    set_: SetOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also read all tokens of files that are used where they lie.")
    ] = False,
) -> None:
    """Tokenize the corpus. If that is done already, verify the checksums of its files."""
    with opened(_load(place, set_)) as space:
        from doremi.corpus.data_table import data_table
        from doremi.corpus.source_record import what_was_read
        from doremi.executors.choose import chosen
        from doremi.pipeline.run import prepare_only

        corpus = prepare_only(space, chosen, in_place=full)
        if space.world.is_main:
            typer.echo(f"{data_table(what_was_read(corpus))}\ncorpus: {corpus.folder}")


@app.command()
def reference(place: PlaceArgument, set_: SetOption = None) -> None:
    """Step 1 of DoReMi. Train the reference models on the reference mixture."""
    _search(place, set_, references_only=True)


@app.command()
def proxy(place: PlaceArgument, set_: SetOption = None) -> None:
    """Step 2 of DoReMi. Train the proxy models, which find the weights, and write mixture.json."""
    _search(place, set_, references_only=False)


def _search(place: Path, set_: list[str] | None, *, references_only: bool) -> None:
    with opened(_load(place, set_), search=True, drives=True) as space:
        from doremi.executors.choose import chosen
        from doremi.pipeline.run import search

        search(space, chosen, references_only=references_only)


@app.command()
def train(
    place: PlaceArgument,
    set_: SetOption = None,
    mixture: Annotated[
        str | None,
        typer.Option(
            "--mixture",
            metavar="FILE",
            help="Train one model on this mixture, a file or a name, of any size (--set model.preset=...).",
        ),
    ] = None,
) -> None:
    """Step 3 of DoReMi. Train the main models of the configuration, or one model on a given mixture."""
    with opened(_load(place, set_), own_model=mixture is not None, drives=mixture is None) as space:
        from doremi.executors.choose import chosen
        from doremi.pipeline.run import candidates, own_model

        if mixture is None:
            candidates(space, chosen)
        else:
            folder = own_model(space, mixture)
            if space.world.is_main:
                typer.echo(f"model: {folder.folder / 'model'}")


@app.command()
def tune(place: PlaceArgument, set_: SetOption = None, sizes: SizesOption = None) -> None:
    """Find the peak learning rate of each size of model, by training it with five. Write it into the configuration."""
    from doremi.cli import tune as telling

    config = _load(place, set_)
    names = list(dict.fromkeys(sizes.split(",") if sizes else [config.size_name, *config.size_names()]))
    with opened(config, drives=True) as space:
        from doremi.executors.choose import chosen
        from doremi.pipeline.tuning import tune as sweep
        from doremi.report import write_report

        found = sweep(space, chosen, names)
        if not space.world.is_main:
            return
        typer.echo(telling.words(found))
        typer.echo(f"report: {write_report(space.directory)}")
    typer.echo(telling.settle(place, {one.size: one.best for one in found if one.best is not None}))


@app.command()
def jobs(place: PlaceArgument, set_: SetOption = None) -> None:
    """List every piece of work of a run, with what is done, what is ready, and what waits for what."""
    from doremi.cli.jobs import jobs_table

    typer.echo(jobs_table(_load(place, set_)))


@app.command()
def job(
    place: PlaceArgument,
    name: Annotated[str, typer.Argument(metavar="JOB", help="A job as `doremi jobs` lists it.")],
    set_: SetOption = None,
    profile: ProfileOption = None,
) -> None:
    """Do one job of a run, whose needs are done. Doing it again is harmless."""
    with opened(_load(place, _with_profile(set_, profile)), search=True, joins=True) as space:
        from doremi.pipeline.run import one_job

        one_job(space, name)


@app.command()
def slurm(
    place: PlaceArgument,
    out: OutOption,
    set_: SetOption = None,
    sbatch: SbatchOption = None,
    gpu: GpuOption = False,
    until: UntilOption = None,
    after: AfterOption = None,
) -> None:
    """Write scripts that do a run on a Slurm cluster, one array for all jobs that are alike."""
    from doremi.cli.slurm import is_recorded, scripts

    config = _load(place, set_)
    if until is not None:
        may_walk(config)
    if after is None and not is_recorded(config):
        with opened(config, search=True):
            pass  # checks it, and records it for the jobs
    from doremi.executors.slurm import Wishes

    wishes = Wishes(gpu=gpu, until_decided=until is not None, options=tuple(sbatch or ()))
    typer.echo(scripts(config, out, wishes, after))


@app.command()
def clean(
    place: PlaceArgument,
    set_: SetOption = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is listed.")] = False,
) -> None:
    """List what no current result of a run needs, with its size on the disk."""
    from doremi.cli.clean import clean as clean_run

    typer.echo(clean_run(_load(place, set_), remove=remove))


@app.command()
def evaluate(place: PlaceArgument, set_: SetOption = None) -> None:
    """Compare the finished main models. Write verdict.json and print it as a table."""
    from doremi.cli.result import verdict_text
    from doremi.pipeline.judging import judge_run

    loaded = _load(place, set_)
    typer.echo(verdict_text(loaded, judge_run(loaded)))


@app.command()
def fewshot(
    place: PlaceArgument,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A saved model, the folder `model` of a training.")],
    set_: SetOption = None,
) -> None:
    """Evaluate a saved model on the tasks of downstream.tasks. `doremi run` does so for all main models."""
    settings = _load(place, set_).downstream
    from doremi import distributed
    from doremi.pipeline import fewshot

    typer.echo("\n".join(fewshot.lines(fewshot.one_model(settings, model, str(distributed.start().device)))))


@app.command()
def report(place: PlaceArgument, set_: SetOption = None) -> None:
    """Write report.html from what the run directory holds."""
    from doremi.report import write_report
    from doremi.rundir.layout import RunDirectory

    typer.echo(f"report: {write_report(RunDirectory(_load(place, set_).root))}")


@app.command()
def status(place: PlaceArgument, set_: SetOption = None) -> None:
    """Show what is done, what is running and what is left."""
    from doremi.cli.status import status_table

    typer.echo(status_table(_load(place, set_)))


app.command()(exporting.export)
app.command()(exporting.sample)
app.command("import")(exporting.import_)


def main() -> None:
    """Run the command line; user errors are one line and exit code 2, never a traceback."""
    with lasting_streams():
        _main()


def _main() -> None:
    try:
        app(standalone_mode=True)
    except Interrupted as stopped:
        _fail(str(stopped), stopped.exit_code)
    except DoremiError as error:
        _fail(f"error: {error}", error.exit_code)
    except OSError as error:
        if error.errno not in SURROUNDINGS:
            raise
        what = error.filename or "a file"
        _fail(
            f"error: {what}: {error.strerror}. Fix that and run the same command to resume. Finished work is kept.", 2
        )


def _fail(message: str, code: int) -> None:
    """End with one message; of several processes only the first that fails prints it."""
    message = masked(message)
    if "WORLD_SIZE" not in os.environ:
        print(message, file=sys.stderr)
        sys.exit(code)
    from doremi.distributed import first_to_fail

    if first_to_fail(message):
        print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)  # destroying the process group would wait for processes that are lost
