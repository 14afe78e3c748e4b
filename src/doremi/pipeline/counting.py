"""What models cost, counted with torch once for each shape and length, and recorded in counts.json."""

from __future__ import annotations

import torch

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.errors import ConfigError
from doremi.model.build import build, count_parameters
from doremi.model.operations import of_model
from doremi.pipeline import look
from doremi.pipeline.workspace import Workspace
from doremi.rundir.known import Counts, counts_key
from doremi.rundir.specs import canonical
from doremi.rundir.weights import shape_of


def count_models(space: Workspace, corpus: Corpus) -> None:
    """Count what the run's models cost, where it is not recorded yet."""

    def work() -> None:
        known = look.counts(space.root)
        found = counted(space.config, corpus.tokenizer.vocab_size, known)
        if found != known:
            with space.locks.records():
                look.write_counts(space.root, {**look.counts(space.root), **found})

    space.world.on_main(work)


def counted(config: RunConfig, vocab_size: int, known: dict[str, Counts]) -> dict[str, Counts]:
    """`known` with the proxy's model and those of all candidates' sizes."""
    length, found = config.data.sequence_length, dict(known)
    for size in dict.fromkeys([config.size_name, *config.size_names()]):
        description = shape_of(config, size)
        key = counts_key(canonical(description), vocab_size, length)
        if key not in found or found[key].layers is None:
            found[key] = _count(description, vocab_size, length)
    return found


def _count(description: dict[str, object], vocab_size: int, sequence_length: int) -> Counts:
    with torch.device("meta"):
        body, total = count_parameters(build(description, vocab_size, sequence_length, 0))
    try:
        each = of_model(description, vocab_size, sequence_length)
    except ConfigError:  # its computations depend on the text: who needs the number says so
        return Counts(body, total, None, None, None, layers=0)
    return Counts(
        body, total, each.forward, each.training, each.saved, each.scores, each.layers, each.in_blocks,
        each.in_attention, each.between,
    )  # fmt: skip
