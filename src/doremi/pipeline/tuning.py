"""`doremi tune`: one training of the reference mixture for each size of model and each of some peak learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.errors import RunError, TrainingError
from doremi.model.presets import shape
from doremi.pipeline import look
from doremi.pipeline.counting import count_models
from doremi.pipeline.driver import drive, settle
from doremi.pipeline.executor import Executors
from doremi.pipeline.preparing import prepare
from doremi.pipeline.workspace import Workspace
from doremi.rundir.context import Context
from doremi.rundir.known import Asked
from doremi.rundir.node import Node
from doremi.rundir.specs import TrainingSpec
from doremi.rundir.weights import candidate_name
from doremi.verdict.rates import Swept, swept

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Rates that are tried, as multiples of the one that a size has now."""


def tune(space: Workspace, executors: Executors, sizes: Sequence[str]) -> list[Swept]:
    """Train what a sweep of these sizes needs, as far as it is not there; what it shows, on the main process.

    A training that does not end well, as one with too high a rate may, is no failure while others of its size do.
    `RunError` where a size has none that did, and where the reference mixture cannot be made.
    """
    for size in sizes:
        if size != space.config.size_name:
            shape(size, None, {}, key="--sizes")
    corpus = prepare(space)
    settle(space, corpus, executors.host(space))
    wanted = asked_for(space, corpus, sizes)
    space.world.on_main(lambda: _ask(space, wanted))
    ids = {one.id for one in wanted}
    failed: TrainingError | None = None
    try:
        drive(space, executors, lambda node: node.id in ids)
    except TrainingError as error:  # a rate was too high
        failed = error
    found = [one for one in swept(space.directory, space.directory.nodes()) if one.size in sizes]
    if failed is not None and any(one.lowest is None for one in found):
        raise failed
    return found


def asked_for(space: Workspace, corpus: Corpus, sizes: Sequence[str]) -> list[Asked]:
    """The trainings of a sweep."""
    config = with_sizes(space.config, sizes)
    count_models(replace(space, config=config), corpus)
    context = Context(config, look.look(config, space.directory, corpus))
    return [_asked(context, size, factor) for size in sizes for factor in FACTORS]


def with_sizes(config: RunConfig, sizes: Sequence[str]) -> RunConfig:
    """The configuration as if its candidates had these sizes."""
    return config.model_copy(update={"candidates": config.candidates.model_copy(update={"sizes": list(sizes)})})


def _asked(context: Context, size: str, factor: float) -> Asked:
    config, name = context.config, context.config.reference.mixture
    rate = float(f"{context.rate(size) * factor:.3g}")
    node = Node("", "training", "tune", mixture=candidate_name(name), size=size, seed=config.seed)
    node = context.train(node, context.plain(name), context.why_not(name), rate=rate)
    if not isinstance(node.spec, TrainingSpec):
        raise RunError(f"reference.mixture {name}: {node.waits}")
    return Asked(node.spec, size, node.mixture, "tune")


def _ask(space: Workspace, wanted: Sequence[Asked]) -> None:
    with space.locks.records():
        look.ask_sweep(space.root, wanted)
