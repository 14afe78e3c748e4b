"""Equal total compute: the plain mixtures trained for as much longer as the search for DoReMi's mixture cost.

At equal tokens the plain mixtures get their weights for nothing. What the search cost is counted in floating-point
operations: every reference and every proxy of every round, and the reference's forward pass that scores each of the
proxy's batches (docs/decisions.md).
"""

from __future__ import annotations

import math
from dataclasses import replace

from doremi.corpus.value import Corpus
from doremi.mixture.names import WITH_SEARCH
from doremi.model.operations import Operations, of_model
from doremi.pipeline import stages
from doremi.pipeline.rounds import step
from doremi.pipeline.workspace import Workspace, shape_of
from doremi.rundir.layout import TrainingFolder


def train_longer(space: Workspace, corpus: Corpus) -> None:
    """Main models of every size, seed and plain mixture, for the candidates' steps and those of the search."""
    config = space.config
    for size in config.size_names():
        longer = _longer(space, more_steps(space, corpus, size))
        for seed in config.candidate_seeds():
            for name in config.plain_mixtures():
                step(space, lambda n=name, i=seed, s=size, w=longer: stages.main_model(w, corpus, s, n, i, WITH_SEARCH))


def _longer(space: Workspace, steps: int) -> Workspace:
    """The same run with more steps; its budget stays, so that UniMax and limits give the same mixtures."""
    steps += space.settings.steps
    training = space.config.training.model_copy(update={"steps": steps})
    config = space.config.model_copy(update={"training": training, "budget_tokens": space.config.budget})
    return replace(space, config=config, settings=space.settings.model_copy(update={"steps": steps}))


def more_steps(space: Workspace, corpus: Corpus, size: str) -> int:
    """Steps of a main model of `size` that cost what the search did, rounded up."""
    config = space.config
    places = [(s, seed) for s in space.directory.searches(config.rounds.max) for seed in config.search_seeds()]
    references = sum(_sequences(search.reference(seed)) for search, seed in places)
    proxies = sum(_sequences(search.proxy(seed)) for search, seed in places)
    cost = search_operations(_operations(space, corpus, None), references, proxies)
    return steps_for(cost, _operations(space, corpus, size), space.settings.batch_size)


def search_operations(model: Operations, references: int, proxies: int) -> int:
    """Floating-point operations of references and proxies that are trained on so many sequences, all together."""
    return references * model.training + proxies * (model.training + model.forward)


def steps_for(operations: int, model: Operations, batch_size: int) -> int:
    """Training steps of a model that cost so many operations, rounded up."""
    return math.ceil(operations / (batch_size * model.training))


def _sequences(folder: TrainingFolder) -> int:
    """What a training has read; nothing if the round it belongs to was not needed."""
    if not folder.finished:
        return 0
    stage = folder.stage()
    return stage["steps"] * stage["batch_size"]


def _operations(space: Workspace, corpus: Corpus, size: str | None) -> Operations:
    vocab_size = corpus.tokenizer.vocab_size
    return of_model(shape_of(space.config, size), vocab_size, space.config.data.sequence_length)
