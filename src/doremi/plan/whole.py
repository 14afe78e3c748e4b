"""The graph of a whole run before it is done: unfinished trainings count with all their steps, all rounds at most.

What is not recorded yet is found out here and written nowhere: the machine's facts, what models cost, and about what an
epoch-matched run keeps of its corpus.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from doremi.config import RunConfig
from doremi.corpus.kept import already_kept, check_batches, kept_folder, kept_part
from doremi.corpus.manifest import DomainEntry, SplitCounts
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import DataError
from doremi.methods import by_mixture
from doremi.pipeline.counting import counted
from doremi.pipeline.host import this_host
from doremi.pipeline.look import look
from doremi.pipeline.workspace import this_machine
from doremi.rundir.at_once import settled
from doremi.rundir.graph import Graph, graph
from doremi.rundir.known import Known
from doremi.rundir.layout import RunDirectory

BY_ESTIMATES = "by these estimates the run will be refused: "


def whole_run(config: RunConfig, corpus: Corpus | None, world: World) -> Graph:
    """The graph of a run; `corpus` as it is trained on, an estimate of it, or None."""
    known = look(config, RunDirectory(config.root), corpus)
    begun = known.trained or known.begun  # the machine's facts are recorded anew until then
    machine = (known.machine if begun else None) or this_machine(world)
    known = counted_too(config, replace(known, machine=machine, assumed=True))
    if world.size == 1:
        found = settled(config, known, this_host(), by_mixture(), threads_stay=bool(begun))
        known = replace(known, machine=found.machine)
    return graph(config, known, by_mixture())


def trainings_at_once(config: RunConfig, whole: Graph, world: World) -> int:
    """How many trainings of a whole run go on at the same time here."""
    if world.size > 1:
        return 1
    return settled(config, whole.known, this_host(), by_mixture(), threads_stay=True).at_once


def with_other_settings(config: RunConfig, known: Known) -> Graph:
    """What the run would be with this configuration, with all that is known of it."""
    return graph(config, counted_too(config, known), by_mixture())


def counted_too(config: RunConfig, known: Known) -> Known:
    """With what its models cost, as soon as there is a vocabulary."""
    if known.corpus is None:
        return known
    return replace(known, counts=counted(config, known.corpus.tokenizer.vocab_size, dict(known.counts)))


# -- what is trained on ------------------------------------------------------------------------------------------------


def as_trained_on(config: RunConfig, corpus: Corpus) -> Corpus:
    """A corpus with the documents that epoch-matched runs keep of it; until these are chosen, an estimate of them."""
    if config.kept_share == 1:
        return corpus
    kept = already_kept(corpus, config.kept_share)
    return kept or replace(corpus, kept=_expected(corpus, config.kept_share))


def _expected(corpus: Corpus, share: Fraction) -> Corpus:
    """About what a share of each domain is: one document at least. Without a fingerprint, for it is an estimate."""
    entries = {}
    for name, entry in corpus.entries.items():
        documents, tokens = entry.train.documents, entry.train.tokens
        part = kept_part(corpus, name, share)
        fewer = max(1, round(part * documents))
        kept = SplitCounts(documents=fewer, tokens=max(round(part * tokens), tokens // documents))
        entries[name] = DomainEntry(entry.folder, kept)
    return replace(corpus, folder=kept_folder(corpus, share), entries=entries, share=str(share), fingerprint="")


def too_few_kept(config: RunConfig, corpus: Corpus) -> list[str]:
    """`DataError` where a run will refuse to train on what is kept; a note where that is only estimated."""
    if corpus.kept is None:
        return []
    try:
        check_batches(corpus, corpus.kept, config.training.batch_size, config.data.sequence_length)
    except DataError as error:
        if corpus.kept.fingerprint:
            raise
        return [f"{BY_ESTIMATES}{error}"]
    return []
