"""The trainings of a run as plain values, and what their logs hold as far as they are written.

`K` is the number of domains, `T` of steps, `E` of evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from doremi.files import json_lines
from doremi.mixture.record import MixtureRecord, same_weights
from doremi.report.words import inner, number, numbers
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.nodes import NodeRecord, Nodes, Role

SEARCH_ROLES: tuple[Role, ...] = ("reference", "proxy")
MODEL_ROLES: tuple[Role, ...] = ("main", "own", "longer")
"""Roles of models that were trained on a mixture to see how good it is."""


@dataclass(frozen=True)
class Training:
    """A training that has begun, for one purpose; another purpose may lie in the same folder.

    `size` and `mixture` are those of main models. `round` counts from 1 where a search has several rounds, and is 0
    elsewhere. `same_as` says what else the folder is, if that comes before.
    """

    role: Role
    size: str
    mixture: str
    seed: int
    folder: TrainingFolder
    method: str = ""
    round: int = 0
    same_as: str = ""

    @property
    def finished(self) -> bool:
        return self.folder.finished

    @property
    def name(self) -> str:
        """What models of this kind are called in a table."""
        return f"{self.mixture}, trained longer" if self.role == "longer" else self.mixture or self.role


def in_round(what: str, number: int) -> str:
    """`what` with the round that it belongs to, where there are rounds."""
    return f"round {number}, {what}" if number else what


@dataclass(frozen=True)
class Trainings:
    """All that have begun, references and proxies first; `foreign` are those that hold something else than planned."""

    own: tuple[Training, ...] = ()
    foreign: tuple[Training, ...] = ()


def read_trainings(run: RunDirectory, nodes: Nodes, records: Mapping[str, Mapping[int, MixtureRecord]]) -> Trainings:
    """`records`: each candidate's mixture files by seed.

    A finished training is foreign if it is not the one that was planned, or if its weights are not those of the file
    that the page shows. Nothing of it is shown.
    """
    made: list[Training] = []
    foreign: list[Training] = []
    seen: dict[Path, str] = {}
    for node in _in_order(nodes):
        folder = run.training(node)
        if folder is None or not folder.folder.is_dir():
            continue
        same_as = seen.setdefault(folder.folder, _kind(node))
        training = Training(
            node.role, node.size, node.mixture, node.seed, folder, node.method, node.round,
            same_as if same_as != _kind(node) else "",
        )  # fmt: skip
        is_foreign = folder.finished and _is_foreign(node, folder, records.get(node.mixture, {}))
        (foreign if is_foreign else made).append(training)
    return Trainings(tuple(made), tuple(foreign))


def _in_order(nodes: Nodes) -> list[NodeRecord]:
    """References and proxies round by round, then models by size and mixture: found mixtures first."""
    searches = [n for role in SEARCH_ROLES for n in nodes.find(role)]
    methods = list(dict.fromkeys(node.method for node in searches))
    searches.sort(key=lambda n: (methods.index(n.method), n.round, SEARCH_ROLES.index(n.role), n.seed))
    plain = {one.name: one.role == "plain" for one in nodes.candidates}
    models = [n for role in MODEL_ROLES for n in nodes.find(role)]
    models.sort(
        key=lambda n: (n.size, plain.get(n.mixture, True), n.mixture, MODEL_ROLES.index(n.role), n.method, n.seed)
    )
    return [*searches, *models]


def _kind(node: NodeRecord) -> str:
    longer = ", trained longer" if node.role == "longer" else ""
    return f"the {node.role} models" if node.role in SEARCH_ROLES else f"the models on {node.mixture}{longer}"


def _is_foreign(node: NodeRecord, folder: TrainingFolder, records: Mapping[int, MixtureRecord]) -> bool:
    stage, record = folder.stage(), records.get(node.seed)
    if node.key is not None and stage["key"] != node.key:
        return True
    return node.role in MODEL_ROLES and record is not None and not same_weights(record.weights, stage["mixture"])


# -- what their logs hold --------------------------------------------------------------------------------------------


def records(folder: TrainingFolder, kind: str) -> list[Mapping[str, Any]]:
    """The records of one kind of a training folder, as far as they are written."""
    return [r for r in json_lines(folder.folder / "metrics.jsonl", f'"{kind}"') if r.get("kind") == kind]


def curve(training: Training, k: int) -> dict[str, np.ndarray]:
    """`tokens` and `step` `[E]`, `loss` and `bits_per_byte` `[E]`: plain means over domains, report split."""
    held = records(training.folder, "evaluation")
    means = {
        unit: np.array([np.mean(numbers(inner(r, "report", unit), k)) for r in held])
        for unit in ("loss", "bits_per_byte")
    }
    return {"step": _column(held, "step"), "tokens": _column(held, "tokens"), **means}


def _column(held: list[Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([number(r.get(key)) for r in held])


def paths(training: Training, k: int) -> dict[str, np.ndarray] | None:
    """A proxy's `step` `[T]`, `weights` and `scores` `[T, K]`; None while there is no whole trace to read."""
    path = training.folder.folder / "trace.f32"
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        trace = training.folder.trace()
    except (StopIteration, ValueError):  # the header or the last row is being written
        return None
    return trace if trace["weights"].shape[1] == k else None
