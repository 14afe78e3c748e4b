"""What a run is, has done and would do, in words: status, dry run, mixture table. Torch-free but for the dry run."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection
from typing import Any

from doremi.config import RunConfig
from doremi.corpus.data_table import data_table
from doremi.corpus.source_record import change_warning, source_changes, what_was_read
from doremi.corpus.sources import DomainFiles, find_all
from doremi.corpus.sources import describe as describe_files
from doremi.corpus.value import Corpus
from doremi.files import bytes_below, read_json, size_in_words
from doremi.mixture.domains import Mixture
from doremi.mixture.record import read_own_record
from doremi.pipeline.planning import as_it_is
from doremi.rundir.corpora import find
from doremi.rundir.data_request import domain_sources
from doremi.rundir.graph import Graph
from doremi.rundir.known import counts_key
from doremi.rundir.layout import RunDirectory
from doremi.rundir.locks import at_work
from doremi.rundir.looks import read_looks
from doremi.rundir.node import Node
from doremi.rundir.nodes import FILE as NODES
from doremi.rundir.specs import TrainingSpec, canonical
from doremi.rundir.weights import shape_of
from doremi.rundir.yardstick import remarks
from doremi.statistics.looks import PLAN


def status_table(config: RunConfig) -> str:
    """Each piece of work: done, the step it has reached, or waiting; disk used; how the last command ended."""
    directory = RunDirectory(config.root)
    return "\n".join(_status_lines(directory, as_it_is(config, directory)))


def _status_lines(directory: RunDirectory, plan: Graph) -> list[str]:
    now = at_work(directory.root)
    rows = [(node.id, _state(plan, node, now)) for node in plan.nodes if node.kind not in ("losses", "shard")]
    if plan.known.shards is not None:
        rows.insert(1, ("shards", plan.known.shards.words()))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {state}" for name, state in rows]
    return [*lines, *_races(plan), *_looks(directory, plan), *_earlier(directory), *_disk(directory), *_last(directory)]


def _state(plan: Graph, node: Node, now: Collection[str]) -> str:
    twin = plan.twin(node)
    if plan.done(node):
        return f"done (is {twin.id})" if twin else "done"
    if twin:
        return f"is {twin.id}"
    step = plan.known.begun.get(node.place) if node.place else None
    running = "running" if node.lock in now else ""
    if step and isinstance(node.spec, TrainingSpec):
        return f"{running and 'running, '}saved at step {step} of {node.spec.settings.steps}"
    if running:
        return running
    return "waiting, if it is needed" if node.optional else "waiting"


def _races(plan: Graph) -> list[str]:
    """Who dropped out of races, and who is left."""
    if plan.known.assumed:
        return ["of a race, those who stand first are listed as finalists"] if plan.races else []
    several = len(plan.races) > 1
    return [f"{race.size}: {line}" if several else line for race in plan.races for line in race.words()]


def _looks(directory: RunDirectory, plan: Graph) -> list[str]:
    """How far a walk along planned looks has come."""
    goal = plan.known.goal
    if goal is None:
        return []
    taken = sorted({len(seeds) for record in read_looks(directory.root).values() for seeds in record.seeds})
    judged = f"judged with {', '.join(map(str, taken))} seeds" if taken else "not judged yet"
    return [f"looks: {judged}. The run is at {goal} seeds of the plan's {', '.join(map(str, PLAN))}"]


def _earlier(directory: RunDirectory) -> list[str]:
    """What earlier settings have left."""
    if not (directory.root / NODES).exists():
        return []
    kinds = Counter(node.kind for node in directory.nodes().earlier)
    if not kinds:
        return []
    words = {"training": "training", "mixture": "mixture", "losses": "store of losses"}
    named = " and ".join(f"{n} {words[kind]}{'s' * (n > 1 and kind != 'losses')}" for kind, n in kinds.items())
    return [f"kept from earlier settings: {named}. `doremi clean` lists them"]


def _disk(directory: RunDirectory) -> list[str]:
    if not directory.root.exists():
        return []
    return [f"disk: {size_in_words(bytes_below(directory.root))}"]


def _last(directory: RunDirectory) -> list[str]:
    """How the last commands ended."""
    lines = []
    for own_model, what in ((False, "last"), (True, "last own model")):
        path = directory.status_path(own_model=own_model)
        if path.exists():
            lines.append(f"{what}: {_in_words(read_json(path, 'status'))}")
    return lines


def _in_words(status: dict[str, Any]) -> str:
    state, process = status["state"], status["process"]
    if state == "running":
        state = "running" if _alive(process) else "was killed"
    if state == "done":
        return state
    return f"{state} at {status['stage']}" + (f": {status['message']}" if status["message"] else "")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def mixture_tables(directory: RunDirectory) -> str:
    """Each found mixture beside the one that the data has, with epochs at the budget."""
    nodes = directory.nodes()
    other = read_own_record(directory.mixture_path(nodes.reference_mixture)).before
    found = [c for c in nodes.candidates if c.role == "found"]
    return "\n\n".join(_mixture_table(directory, c.name, nodes.reference_mixture, other) for c in found)


def _mixture_table(directory: RunDirectory, name: str, reference: str, other: Mixture) -> str:
    record = read_own_record(directory.mixture_path(name))
    lines = [f"{'domain':<28} {reference:>10} {name:>8} {'change':>8} {'epochs':>8}"]
    for domain, weight in record.weights.items():
        change = f"x{weight / other[domain]:.2f}" if other[domain] else "new"
        epochs = (record.domains or {})[domain].epochs
        lines.append(f"{domain:<28} {other[domain]:>10.3f} {weight:>8.3f} {change:>8} {epochs:>8.2f}")
    return "\n".join(lines)


# -- dry run ----------------------------------------------------------------------------------------------------------


def describe(config: RunConfig) -> str:
    """What `doremi run` would do: data, model, tokens, trainings; nothing is written.

    `MixtureError` for limits that no mixture over the prepared corpus keeps.
    """
    from doremi.distributed import start
    from doremi.executors.choose import check_executor
    from doremi.pipeline.checks import check, check_given, model_remarks
    from doremi.pipeline.workspace import check_place
    from doremi.plan.forecast import forecast

    check(config, search=True)
    check_given(config)
    check_place(RunDirectory(config.root))
    check_executor(config.executor)
    corpus = find(config)
    files, lines = _data_lines(config, corpus)
    found, training = forecast(config, start(config.training.timeout), corpus, files), config.training
    return "\n".join(
        [
            f"run directory {config.root}",
            f"{len(config.domains)} domains:",
            *lines,
            _corpus_line(found.corpus, prepared=found.prepared),
            *([data_table(what_was_read(found.corpus))] if found.prepared else []),
            f"tokenizer: {config.data.tokenizer or f'to train, {config.data.vocab_size} entries'}",
            *_model_lines(config, found.corpus.tokenizer.vocab_size),
            *model_remarks(config),
            f"each training: {training.steps} steps x {training.batch_size} sequences x "
            f"{config.data.sequence_length} tokens = {config.run_tokens:,} tokens",
            *_matched_line(config),
            "stages:",
            *(f"  {line}" for line in _status_lines(RunDirectory(config.root), found.graph)),
            *remarks(config, found.graph),
            *found.memory,
            *(f"warning: {note}" for note in found.notes),
            "what it costs: `doremi plan`",
        ]
    )


def _corpus_line(corpus: Corpus, *, prepared: bool) -> str:
    """Whether it is prepared, and how much it trains on."""
    read, true = sum(corpus.count("train", "tokens")), sum(corpus.true_tokens())
    exact = prepared and all(size.exact for size in corpus.sizes.values())
    tokens = f"{'' if prepared else 'about '}{read:,} training tokens"
    tokens += f", of {'' if exact else 'about '}{true:,}" if true != read else ""
    return f"corpus: prepared, in {corpus.folder}, {tokens}" if prepared else f"corpus: to prepare, {tokens}"


def _matched_line(config: RunConfig) -> list[str]:
    if config.kept_share == 1:
        return []
    return [
        f"epoch-matched: trained on {float(config.kept_share):.3g} of each domain, to repeat it as the final run will"
    ]


def _data_lines(config: RunConfig, prepared: Corpus | None) -> tuple[dict[str, DomainFiles], list[str]]:
    """What lies where each domain's files are, and whether a prepared corpus is still made of it; and that in words."""
    sources = domain_sources(config)
    changed = source_changes(prepared.folder, sources) if prepared else []
    gone = {change.domain for change in changed if not change.what}
    here = {name: source for name, source in sources.items() if name not in gone}
    found = find_all(here)
    lines = [f"  {name:<28} {describe_files(files)}" for name, files in found.items()]
    lines += [f"  {name:<28} its files are not here; the prepared corpus is used" for name in sorted(gone)]
    warning = change_warning(changed, prepared.folder) if prepared else None
    return found, lines + ([f"warning: {warning}"] if warning else [])


def _model_lines(config: RunConfig, vocab_size: int) -> list[str]:
    """Each model with the vocabulary of the corpus, of the tokenizer that is named, or of the one to be trained."""
    from doremi.pipeline.counting import counted

    length, held, lines = config.data.sequence_length, counted(config, vocab_size, {}), []
    for size in dict.fromkeys([config.size_name, *config.size_names()]):
        counts = held[counts_key(canonical(shape_of(config, size)), vocab_size, length)]
        each = counts.training or 6 * counts.parameters * length  # a rule of thumb where none can be counted
        flops = each * config.run_tokens // length
        exponent = int(math.log10(flops))
        lines.append(
            f"model {size}: {counts.parameters:,} parameters, {counts.body:,} without embeddings; "
            f"one training is about {flops / 10**exponent:.1f}e{exponent} floating-point operations"
        )
    return lines
