"""What a dry run knows: the corpus, prepared or at a glance, the graph of the whole run, and what would stop it.

Nothing is measured and nothing is written. Where the corpus is not prepared yet, only a few of its files are read, and
what follows from that is said as an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from doremi.config import RunConfig
from doremi.corpus.by_field import glances
from doremi.corpus.checks import Limits
from doremi.corpus.checks import check as check_domains
from doremi.corpus.glance import Glance, glance
from doremi.corpus.manifest import DomainEntry, SplitCounts, TokenizerEntry
from doremi.corpus.sampling import BYTES_PER_TOKEN
from doremi.corpus.size import Sample
from doremi.corpus.sources import DomainFiles
from doremi.corpus.tokenizer import END_OF_TEXT, load_tokenizer
from doremi.corpus.validation import DISTINCT, fewest, piece_length
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import DataError, MixtureError
from doremi.files import size_in_words
from doremi.mixture.domains import folder_name
from doremi.pipeline.host import this_host
from doremi.plan.device import lines
from doremi.plan.whole import BY_ESTIMATES, as_trained_on, too_few_kept, whole_run
from doremi.rundir.at_once import PROCESS_BYTES, training_bytes
from doremi.rundir.data_request import domain_sources
from doremi.rundir.graph import Graph
from doremi.rundir.memory import LESS
from doremi.rundir.outgrown import in_words, outgrown
from doremi.rundir.specs import TrainingSpec
from doremi.rundir.weights import check_limits

WITH_BLANKS = 1.2  # characters of English text for each that is not blank


@dataclass(frozen=True)
class Forecast:
    """A run before it begins. `notes` are warnings."""

    corpus: Corpus
    prepared: bool
    graph: Graph
    memory: list[str]
    """What the largest training takes, and what there is, and then each stage; nothing where it cannot be counted."""
    notes: list[str]


def forecast(config: RunConfig, world: World, found: Corpus | None, files: Mapping[str, DomainFiles]) -> Forecast:
    """What `doremi run` would meet; `ConfigError`, `DataError` and `MixtureError` as that would raise them.

    `found` is the prepared corpus. `files` are those of the domains, of which some are read where there is none. What
    only an estimate refuses is a note.
    """
    if found is not None:
        corpus = as_trained_on(config, found)
        check_domains(corpus, Limits(config.data.sequence_length, config.data.max_unknown))
        check_limits(config, corpus)
        graph, notes = whole_run(config, corpus, world), too_few_kept(config, corpus)
    else:
        corpus = as_trained_on(config, _at_a_glance(config, files))
        notes = _refused(config, corpus)
        try:
            graph = whole_run(config, corpus, world)
        except MixtureError as error:
            notes = [*notes, str(error)]
            graph = whole_run(config, None, world)
        notes = [*(f"{BY_ESTIMATES}{note}" for note in dict.fromkeys(notes)), *too_few_kept(config, corpus)]
    if (warning := in_words(outgrown(corpus, graph, config.kept_share))) is not None:
        notes.append(warning)
    memory, short = _memory(config, graph, world)
    return Forecast(corpus, found is not None, graph, memory, [*notes, *short])


def _refused(config: RunConfig, corpus: Corpus) -> list[str]:
    """What a run over such a corpus is refused for."""
    found = []
    try:
        check_domains(corpus, Limits(config.data.sequence_length, 1.0))
        check_limits(config, corpus)
    except (DataError, MixtureError) as error:
        found.append(str(error))
    letters, most = piece_length(config.data.validation_max_tokens), config.data.validation_max_tokens
    if letters / BYTES_PER_TOKEN > most / 2:
        piece = f"no piece of {letters:,} characters fits into half of it"
        found.append(f"data.validation_max_tokens is {most:,}, and {piece}; raise it")
    return found


# -- a corpus at a glance ----------------------------------------------------------------------------------------------


def _at_a_glance(config: RunConfig, files: Mapping[str, DomainFiles]) -> Corpus:
    """About what the corpus will be, from a few files of each domain and the tokenizer that is named."""
    tokenizer = _tokenizer(config)
    sources = domain_sources(config)
    skip_bad = config.data.on_bad_record == "skip"
    if config.data.domain_field is not None:
        found = glances(sources, next(iter(files.values())))
    else:
        found = {name: glance(name, source, files[name], skip_bad=skip_bad) for name, source in sources.items()}
    entries, samples = {}, {}
    for name, one in found.items():
        tokens = max(1, round(one.bytes / BYTES_PER_TOKEN))
        wanted = sources[name].sample_tokens or tokens
        share = min(1.0, wanted / tokens)
        entries[name] = _entry(config, name, one, share)
        if share < 1:
            size = sum(file.size for file in one.files.train)
            samples[name] = Sample(0, 0, len(one.files.train), round(share * size), size, packed=False)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    return Corpus(Path(), tokenizer, dtype, entries, "", samples=samples, given=config.data.given)


def _tokenizer(config: RunConfig) -> TokenizerEntry:
    """The one that is named, which must be there, or the one that will be trained."""
    if config.data.tokenizer is None:
        return TokenizerEntry("trained", "", config.data.vocab_size, END_OF_TEXT, 0)
    loaded = load_tokenizer(config.data.tokenizer)
    return TokenizerEntry(loaded.source, loaded.sha256, loaded.vocab_size, loaded.end_of_text, loaded.end_of_text_id)


def _entry(config: RunConfig, name: str, found: Glance, share: float) -> DomainEntry:
    """What will be read of a domain, about: a share of its text."""
    in_held, in_train = (sum(file.size for file in files) for files in (found.files.validation, found.files.train))
    given = in_held / max(1, in_held + in_train)
    read = found.bytes * (1 - given) * share
    split_off = 0.0 if found.files.validation else read * _share_held_out(config, _pieces(config, found, read))
    held = min(split_off or found.bytes * given, config.data.validation_max_tokens * BYTES_PER_TOKEN)
    train = read - min(split_off, held)
    trained = _counts(max(1, round(found.documents * train / max(1, found.bytes))), train)
    held_out = _counts(_pieces(config, found, held), held)
    tokens = trained.tokens + (held_out.tokens if split_off else 0)
    return DomainEntry(folder_name(name), trained, held_out, tokens=tokens)


def _share_held_out(config: RunConfig, pieces: int) -> float:
    """Of the text that is read, where there are no validation files."""
    return max(config.data.validation_fraction, fewest(pieces) / max(DISTINCT, pieces))


def _pieces(config: RunConfig, found: Glance, size: float) -> int:
    """That so much of the text is cut into, as if all its documents were alike."""
    length = WITH_BLANKS * piece_length(config.data.validation_max_tokens)
    document = found.bytes / max(1, found.documents)
    return max(1, round(size / max(1.0, document if document <= 2 * length else length)))


def _counts(documents: int, size: float) -> SplitCounts:
    return SplitCounts(documents, round(size), max(1, round(size / BYTES_PER_TOKEN)))


# -- memory ------------------------------------------------------------------------------------------------------------


def _memory(config: RunConfig, graph: Graph, world: World) -> tuple[list[str], list[str]]:
    """The lines on memory, and a warning where there is too little."""
    trainings = [node for node in graph.nodes if isinstance(node.spec or node.draft, TrainingSpec)]
    largest = max((training_bytes(config, graph, node) for node in trainings), default=0)
    if not largest:
        return [], []
    if world.device.type == "cuda":
        need, have = largest, int(torch.cuda.get_device_properties(world.device).total_memory)
    else:
        need, have = largest + PROCESS_BYTES, this_host().memory
    each = [f"  {line}" for line in lines(config, graph)]
    line = f"memory: the largest training takes about {size_in_words(need)}, and there are {size_in_words(have)}"
    if need <= have:
        return [line, *each], []
    return [line, *each], [
        f"the largest training needs about {size_in_words(need)}, and this machine has {size_in_words(have)}. {LESS}"
    ]
