"""Equal total compute: the plain mixtures trained for as much longer as the search for DoReMi's mixture cost.

At equal tokens the plain mixtures get their weights for nothing. What the search cost is counted in floating-point
operations: every reference and every proxy of every round, and the reference's forward pass that scores each of the
proxy's batches (docs/decisions.md).
"""

from __future__ import annotations

import math
from dataclasses import replace

from doremi import stages
from doremi.operations import Operations, of_model
from doremi.rounds import step
from doremi.runs import LEARNED, PER_SEED, WITH_SEARCH, Corpus, TrainingFolder
from doremi.workspace import Workspace, shape_of


def train_longer(space: Workspace, corpus: Corpus) -> None:
    """Main models of every size, seed and plain mixture, for the candidates' steps and those of the search."""
    config = space.config
    plain = [name for name in config.candidate_mixtures() if name not in (LEARNED, PER_SEED)]
    for size in config.size_names():
        longer = _longer(space, more_steps(space, corpus, size))
        for seed in config.candidate_seeds():
            for name in plain:
                step(space, lambda n=name, i=seed, s=size, w=longer: stages.main_model(w, corpus, s, n, i, WITH_SEARCH))


def _longer(space: Workspace, steps: int) -> Workspace:
    steps += space.settings.steps
    training = space.config.training.model_copy(update={"steps": steps})
    config = space.config.model_copy(update={"training": training})
    return replace(space, config=config, settings=space.settings.model_copy(update={"steps": steps}))


def more_steps(space: Workspace, corpus: Corpus, size: str) -> int:
    """Steps of a main model of `size` that cost what the search did, rounded up."""
    of_a_step = space.settings.batch_size * _operations(space, corpus, size).training
    return math.ceil(search_operations(space, corpus) / of_a_step)


def search_operations(space: Workspace, corpus: Corpus) -> int:
    """Floating-point operations of all finished references and proxies."""
    config, model = space.config, _operations(space, corpus, None)
    total = 0
    for search in space.directory.searches(config.rounds.max):
        for seed in config.search_seeds():
            total += _sequences(search.reference(seed)) * model.training
            total += _sequences(search.proxy(seed)) * (model.training + model.forward)
    return total


def _sequences(folder: TrainingFolder) -> int:
    """What a training has read; nothing if the round it belongs to was not needed."""
    if not folder.finished:
        return 0
    stage = folder.stage()
    return stage["steps"] * stage["batch_size"]


def _operations(space: Workspace, corpus: Corpus, size: str | None) -> Operations:
    vocab_size = corpus.manifest["tokenizer"]["vocab_size"]
    return of_model(shape_of(space.config, size), vocab_size, space.config.data.sequence_length)
