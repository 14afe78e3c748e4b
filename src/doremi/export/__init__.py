"""A run's mixture in the form that other trainers read: one file a family of trainers.

`export(run, "megatron")` writes `<run>/export/megatron/`. To add a trainer, write a module with `files(blend, folder)`
and `UNIT`, and name it in `TARGETS`. Weights are fractions of tokens until an exporter turns them into what its trainer
counts; whatever is written sums to exactly 1, keeps the order of the corpus and says how often each domain is repeated.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doremi.errors import ExportError
from doremi.export import huggingface, interchange, megatron, nanotron, olmo
from doremi.export.common import Blend, read_blend
from doremi.export.files import Files, check_folder, write_all
from doremi.rundir.layout import RunDirectory

__all__ = ["TARGETS", "Target", "export"]


@dataclass(frozen=True)
class Target:
    """A form to export to: its exporter, a line for people, and what its weights count."""

    files: Callable[[Blend, Path], Files]
    description: str
    unit: str


TARGETS: dict[str, Target] = {
    "json": Target(interchange.files, "mixture.json, and the official DoReMi domain config", interchange.UNIT),
    "megatron": Target(megatron.files, "Megatron-LM and Megatron-Core data blend with .idx files", megatron.UNIT),
    "huggingface": Target(huggingface.files, "datasets.interleave_datasets as a Python file", huggingface.UNIT),
    "olmo": Target(olmo.files, "OLMo-core source mixture", olmo.UNIT),
    "nanotron": Target(nanotron.files, "nanotron data stage over datatrove files", nanotron.UNIT),
}


def export(
    run: RunDirectory,
    target: str,
    *,
    mixture: str | Path | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> list[Path]:
    """Write the mixture of `run` for the trainer `target` (a key of `TARGETS`); returns the files written.

    `mixture` is the name of one in the run (natural, ...) or the path of a mixture.json; without it, the one that the
    verdict recommends, or the first that a search has found before there is a verdict. `out` is the folder to write
    to, by default `<run>/export/<target>`. `say` gets each note of the README. Token files are linked, never copied.

    Raises `ExportError` for an unknown target and for whatever the target cannot hold, `MixtureError` for weights that
    do not fit the corpus, `RunError` for a run without a corpus manifest or with a verdict of other models.
    """
    if target not in TARGETS:
        nearest = difflib.get_close_matches(target, TARGETS, n=1, cutoff=0.0)[0]
        raise ExportError(f"unknown target {target!r}; did you mean {nearest!r}? There are {', '.join(TARGETS)}")
    folder = run.root / "export" / target if out is None else out
    check_folder(folder, run)
    blend = read_blend(run, mixture)
    for note in blend.notes:
        say(note)
    return write_all(TARGETS[target].files(blend, folder), folder)
