"""Which mixture of a run is exported, and what is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from doremi.errors import MixtureError, RunError
from doremi.mixture.domains import Mixture
from doremi.mixture.record import MixtureRecord, same_weights
from doremi.rundir.imported import imported_mixtures
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import named_mixtures
from doremi.rundir.nodes import Nodes
from doremi.verdict.current import outdated
from doremi.verdict.values import FILE as VERDICT
from doremi.verdict.values import read_verdict

TRAINED_ON = ("reference", "main", "longer", "own")  # roles of ordinary trainings on the weights of a mixture


def find_mixture(run: RunDirectory, nodes: Nodes | None, mixture: str | Path | None) -> tuple[Path, str]:
    """Path and label of the mixture to export: a name in the run, a file, else the recommended one, else a found one.

    `MixtureError` where there is none, `RunError` for a verdict of other models than the run has now.
    """
    files = {one.name: run.place(one.place) for one in named_mixtures(nodes) if one.place is not None}
    files = {name: path for name, path in files.items() if path.is_file()}
    files = {**imported_mixtures(run), **files}
    if mixture is None:
        mixture = _recommended(run) or _first_found(run, nodes, files)
    if isinstance(mixture, str) and mixture in files:
        return files[mixture], mixture
    path = Path(mixture)
    if path.is_file():
        return path, path.name
    raise MixtureError(
        f"{run.root}: has no mixture {str(mixture)!r} (there are {', '.join(files) or 'none yet'}) and no such "
        "file is there. Name one of these or give the path of a mixture.json"
    )


def _recommended(run: RunDirectory) -> str | None:
    """The verdict's choice, None without one; `RunError` for a verdict of other models than the run has now."""
    if not (run.root / VERDICT).exists():
        return None
    verdict = read_verdict(run.root)
    if why := outdated(run, run.nodes(), verdict):
        raise RunError(f"{run.root}: {why} Compare again with: doremi run {run.root}, or name a mixture with --mixture")
    return verdict.recommendation.mixture


def _first_found(run: RunDirectory, nodes: Nodes | None, files: Mapping[str, Path]) -> str:
    first = next((one.name for one in named_mixtures(nodes) if one.role == "found" and one.name in files), None)
    if first is None:
        raise MixtureError(
            f"{run.root}: has no verdict, and no search has found a mixture yet. `doremi run` makes them. "
            "Or name another mixture with --mixture"
        )
    return first


def recorded_budget(run: RunDirectory, nodes: Nodes | None, record: MixtureRecord) -> int | None:
    """Tokens of the final run: of the mixture's file, else of one that the run has found; None if neither says."""
    places = [one.place for one in named_mixtures(nodes) if one.role == "found" and one.place is not None]
    found = [run.mixture(place) for place in places if run.place(place).is_file()]
    stated = [one.budget_tokens for one in (record, *found) if one.budget_tokens is not None]
    return next((int(budget) for budget in stated if 1 <= budget < math.inf), None)


def is_trained_on(run: RunDirectory, nodes: Nodes | None, mixture: Mixture) -> bool:
    """Whether a finished model has these weights, but for the rounding of an export."""
    folders = [run.training(node) for node in (nodes.nodes if nodes else ()) if node.role in TRAINED_ON]
    stages = [folder.stage() for folder in folders if folder is not None and folder.finished]
    return any(same_weights(mixture.weights, stage["mixture"]) for stage in stages)
