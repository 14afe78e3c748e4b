"""The stages of a run: the nodes of its graph by what they are for, and what one of them takes beside operations.

All of it is exact. A run that stops early (iterated DoReMi before its last round, a proxy that has settled) does less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.mixture.plain import uniform
from doremi.objectives.choose import make_objective
from doremi.plan import footprint
from doremi.rundir import costs
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph
from doremi.rundir.node import Node
from doremi.rundir.nodes import Role
from doremi.rundir.specs import LossesSpec, TrainingSpec
from doremi.training.checkpoint import KEEP
from doremi.training.save_times import expected as expected_saves

Kind = Literal["plain", "proxy", "losses"]
SEARCH: tuple[Role, ...] = ("reference", "losses", "proxy")
ORDER: tuple[Role, ...] = (*SEARCH, "main", "longer")


@dataclass(frozen=True)
class Each:
    """One piece of work of a stage."""

    disk: int
    """Bytes that it leaves."""
    steps: int = 0
    evaluation_batches: int = 0
    """Over all its evaluations."""
    checkpoint_every: int | Literal["auto"] = "auto"
    """Steps between checkpoints, or by the clock."""
    spare: int = 0
    """Bytes more while it runs: checkpoints that are dropped at its end."""
    losses_batches: int = 0
    """Forward passes that compute losses to be kept."""


@dataclass(frozen=True)
class Stage:
    """Nodes of a role at one size, which are alike in all that they take."""

    name: str
    role: Role
    size: str
    body: int
    """Parameters without embeddings."""
    parameters: int
    nodes: tuple[Node, ...]
    left: tuple[Node, ...]
    """Those that are not done."""
    each: Each

    @property
    def kind(self) -> Kind:
        """What a calibration has to run."""
        return self.role if self.role in ("proxy", "losses") else "plain"

    @property
    def spec(self) -> TrainingSpec | LossesSpec:
        """That of one of them, as far as it is known."""
        return spec_of(self.nodes[0])

    @property
    def number(self) -> int:
        return len(self.nodes)

    @property
    def trainings(self) -> int:
        return 0 if self.kind == "losses" else self.number

    @property
    def tokens(self) -> int:
        """Trained on, all together."""
        return sum(node.cost.tokens for node in self.nodes if node.cost)

    @property
    def operations(self) -> int:
        """Floating-point operations, all together."""
        return sum(node.cost.operations or 0 for node in self.nodes if node.cost)

    @property
    def disk(self) -> int:
        """Bytes left behind, all together."""
        return self.number * self.each.disk

    def rest(self) -> Stage:
        """What is not done of it."""
        return replace(self, nodes=self.left)


def spec_of(node: Node) -> TrainingSpec | LossesSpec:
    """What a node consists of, without what it waits for."""
    spec = node.spec or node.draft
    assert isinstance(spec, TrainingSpec | LossesSpec)
    return spec


def stages(config: RunConfig, graph: Graph) -> list[Stage]:
    """All that computes, in the order of the run; the graph is that of `whole.py`, with a corpus."""
    groups: dict[tuple[Role, str], list[Node]] = {}
    for node in graph.work():
        if node.role in ORDER:
            groups.setdefault((node.role, node.size), []).append(node)
    context = Context(config, graph.known)
    ordered = sorted(groups.items(), key=lambda group: ORDER.index(group[0][0]))
    return [_stage(context, graph, role, size, nodes) for (role, size), nodes in ordered]


def name_of(role: Role, size: str) -> str:
    """What a stage is called."""
    if role == "main":
        return f"main {size}"
    return {"losses": "stored losses", "longer": f"{size} at equal compute"}.get(role, role)


def _stage(context: Context, graph: Graph, role: Role, size: str, nodes: list[Node]) -> Stage:
    corpus, settings, counts = context.corpus, context.settings, context.counts(size or None)
    assert corpus is not None
    assert settings is not None
    assert counts is not None
    spec = spec_of(nodes[0])
    if isinstance(spec, LossesSpec):
        machine, length = context.known.machine, spec.sequence_length
        rows = costs.losses_rows(settings, length, None if machine is None else machine.device_memory)
        batches = costs.losses_batches(corpus, length, rows)
        each = Each(footprint.losses_bytes(corpus, spec.sequence_length), losses_batches=batches)
    else:
        each = _training(spec, corpus)
    left = tuple(node for node in nodes if not graph.done(node))
    size = size or context.config.size_name
    return Stage(name_of(role, size), role, size, counts.body, counts.parameters, tuple(nodes), left, each)


def _training(spec: TrainingSpec, corpus: Corpus) -> Each:
    settings, domains = spec.settings, corpus.domains
    vocab_size = corpus.tokenizer.vocab_size
    model, objective = footprint.meta_model(spec.description, vocab_size, spec.sequence_length), {}
    if spec.scoring is not None:
        objective = make_objective(spec.scoring.proxy, domains, vocab_size, uniform(list(domains))).state_dict()
    saved = footprint.checkpoint_bytes(model, settings, objective, torch.device(spec.device))
    written = footprint.model_bytes(model) if spec.scoring is None else 0
    most_saves = expected_saves(settings.checkpoint_every, settings.steps, seconds=1e9)
    return Each(
        disk=saved + written + footprint.log_bytes(corpus, settings.steps),
        steps=settings.steps,
        evaluation_batches=costs.evaluations(settings)
        * costs.evaluation_batches(corpus, spec.sequence_length, spec.device_memory),
        checkpoint_every=settings.checkpoint_every,
        spare=(min(most_saves, KEEP + 1) - 1) * saved,
    )
