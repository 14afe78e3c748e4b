"""A run's mixture in the form that other trainers read: one small module a trainer, in `targets/`.

`export(run, "megatron")` writes `<run>/export/megatron/`. To add a trainer, write a module with a `TARGET` and name it
in `targets/__init__.py`. Weights are fractions of tokens until `target.py` turns them into what the trainer counts.
Whatever is written sums to exactly 1, keeps the order of the corpus and says how often each domain is repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.choose import find_mixture
from doremi.export.files import Files, check_folder, write_all
from doremi.export.mapping import check_complete, read_places, tokens_given
from doremi.export.published import BESIDE, NOTE, is_address, publish
from doremi.export.read import Asked, read_blend
from doremi.export.schedule import read_schedule, with_stages
from doremi.export.sidecar import NAME, sidecar_bytes
from doremi.export.target import Target, with_entries
from doremi.export.targets import TARGETS, by_family
from doremi.mixture.domains import Mixture
from doremi.mixture.files import read_mixture
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import nodes_of

__all__ = ["TARGETS", "Options", "export", "files_of", "target_named"]


@dataclass(frozen=True)
class Options:
    """What else an export may be told. `paths` is a file, `path` are NAME=PLACE (mapping.py)."""

    budget: str | None = None
    """Tokens as people write them."""
    paths: Path | None = None
    path: tuple[str, ...] = ()
    schedule: str | None = None
    """A file, steps:N or changes:N (schedule.py)."""


def export(
    run: RunDirectory,
    target: str,
    *,
    mixture: str | Path | None = None,
    out: str | Path | None = None,
    options: Options | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> list[str] | list[Path]:
    """Write the mixture of `run` for the trainer `target` (a key of `TARGETS`); returns the files written.

    `mixture` is the name of one in the run (natural, ...) or the path of a mixture.json; without it, the one that the
    verdict recommends, or the first that a search has found before there is a verdict. `out` is the folder to write
    to, or an address, by default `<run>/export/<target>`. `say` gets each note of the README. Token files are linked,
    never copied.

    Raises `ExportError` for an unknown target and for whatever the target cannot hold, `MixtureError` for weights that
    do not fit the corpus, `RunError` for a run without a corpus manifest or with a verdict of other models.
    """
    chosen, options = target_named(target), options or Options()
    address = out if isinstance(out, str) and is_address(out) else None
    folder = BESIDE if address is not None else run.root / "export" / target if out is None else Path(out)
    if address is None:
        check_folder(folder, run)
    blend = with_entries(_blend(run, chosen, mixture, options), chosen, folder)
    if address is not None:
        blend = blend.noted(NOTE)
    for note in blend.notes:
        say(note)
    files = files_of(blend, chosen, folder)
    return write_all(files, folder) if address is None else publish(files, address, chosen.main)


def target_named(name: str) -> Target:
    """`ExportError` for an unknown one, with all there are, by family."""
    if name not in TARGETS:
        raise ExportError(f"there is no target {name!r}. There are: {'; '.join(by_family())}")
    return TARGETS[name]


def files_of(blend: Blend, target: Target, folder: Path) -> Files:
    """The target's own files, and the sidecar beside them."""
    yield from target.files(blend, folder)
    yield NAME, sidecar_bytes(blend, target)


def _blend(run: RunDirectory, target: Target, mixture: str | Path | None, options: Options) -> Blend:
    corpus = run.corpus()
    places = read_places(options.paths, options.path, list(corpus.domains))
    budget = None if options.budget is None else tokens_given("--budget", options.budget)
    blend = read_blend(run, asked=Asked(mixture, budget, places, lengths=target.counts == "documents"))

    def named(name: str) -> Mixture:
        return read_mixture(find_mixture(run, nodes_of(run), name)[0])

    if options.schedule is not None:
        blend = with_stages(blend, read_schedule(options.schedule, run, corpus, named))
    check_complete(places, {domain.name: float(domain.weight) for domain in blend.domains})
    return blend
