"""What a graph is made of, without a disk: a corpus of numbers, a machine, counts of models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from doremi.config import RunConfig, validate
from doremi.corpus.manifest import DomainEntry, SplitCounts, TokenizerEntry
from doremi.corpus.pool import Part, first
from doremi.corpus.value import Corpus
from doremi.methods import by_mixture
from doremi.mixture.record import MixtureRecord
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph, graph
from doremi.rundir.known import Counts, Known, Trained, counts_key
from doremi.rundir.machine import Machine
from doremi.rundir.node import Node
from doremi.rundir.specs import MixtureSpec, PartSpec, TrainingSpec

DOMAINS = {"web": 60_000, "code": 30_000, "law": 10_000}
VOCABULARY = 500


def values(**changes: Any) -> dict[str, Any]:
    """A configuration as plain values, with whole sections merged in."""
    base: dict[str, Any] = {
        "name": "run",
        "data": {"domains": {name: name for name in DOMAINS}, "sequence_length": 16},
        "model": {"preset": "0.1m"},
        "training": {"steps": 100, "batch_size": 8},
        "candidates": {"mixtures": ["doremi", "natural", "uniform"], "seeds": 2},
    }
    for key, change in changes.items():
        base[key] = {**base.get(key, {}), **change} if isinstance(change, dict) else change
    return base


def config(**changes: Any) -> RunConfig:
    return validate(values(**changes), "test")


def corpus(domains: dict[str, int] | None = None, fingerprint: str = "f") -> Corpus:
    """So many training tokens a domain, in documents of 100 tokens."""
    entries = {}
    for name, tokens in (domains or DOMAINS).items():
        train = SplitCounts(documents=tokens // 100, bytes=3 * tokens, tokens=tokens)
        entries[name] = DomainEntry(name, train, SplitCounts(documents=10, bytes=3000, tokens=1000), tokens)
    tokenizer = TokenizerEntry("trained", "t", VOCABULARY, "e", 0)
    return Corpus(Path("corpus"), tokenizer, "uint16", entries, fingerprint)


def known(asked: RunConfig, **more: Any) -> Known:
    """A prepared corpus, two cores, and counts in which a gradient costs two forward passes."""
    empty = Context(asked, Known())
    sizes = dict.fromkeys([asked.size_name, *asked.size_names()])
    counts = {
        counts_key(empty.model(size), VOCABULARY, asked.data.sequence_length): Counts(
            100, 200, 1000 + n, 3 * (1000 + n), 4000
        )
        for n, size in enumerate(sizes)
    }
    first = {"corpus": corpus(), "machine": Machine("cpu", False, 2, 2), "counts": counts}
    return Known(**{**first, **more})


def made(asked: RunConfig, so_far: Known | None = None) -> Graph:
    return graph(asked, so_far or known(asked), by_mixture())


def finish(plan: Graph, *nodes: Node, weights: dict[str, float] | None = None, part: Part | None = None) -> Known:
    """What is known once the nodes are done; mixtures have the given weights, and verdicts need `part`."""
    so_far = plan.known
    assert so_far.corpus is not None
    trained, found, parts = dict(so_far.trained), dict(so_far.found), dict(so_far.parts)
    for node in nodes:
        if isinstance(node.spec, TrainingSpec):
            steps = node.spec.settings.steps
            sequences = steps * node.spec.settings.batch_size
            trained[node.spec.key] = Trained(steps, sequences, first(so_far.corpus))
        if isinstance(node.spec, PartSpec):
            parts[node.spec.key] = part or first(so_far.corpus)
        if isinstance(node.spec, MixtureSpec):
            record = MixtureRecord(weights=weights or {"web": 0.5, "code": 0.3, "law": 0.2}, key=node.spec.key)
            found[node.spec.key] = record
    evaluated = so_far.evaluated | {str(node.place) for node in nodes if node.kind == "evaluation"}
    return replace(so_far, trained=trained, found=found, parts=parts, evaluated=evaluated)


def finish_all(asked: RunConfig, weights: dict[str, float] | None = None, part: Part | None = None) -> Graph:
    """The graph of a finished run, whose search finds the given weights in every round."""
    plan, work = made(asked), ("training", "mixture", "validation", "evaluation")
    while ready := [node for node in plan.nodes if plan.ready(node) and node.kind in work]:
        plan = made(asked, finish(plan, *ready, weights=weights, part=part))
    return plan
