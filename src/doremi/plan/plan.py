"""`doremi plan`: what a run costs before it starts, and its share of the final run.

Counts come from `costs` (exact), seconds and memory from `calibration` (measured on this device). Where the corpus is
not prepared yet, it is surveyed, and what depends on it is marked as an estimate. Nothing is left on the disk.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from doremi.config import RunConfig, TrainingConfig
from doremi.config.limits import LimitsConfig
from doremi.corpus.pool import FIRST
from doremi.corpus.sources import describe, find_all
from doremi.corpus.value import Corpus
from doremi.diagnostics.few_tokens import few_tokens
from doremi.distributed import start
from doremi.errors import ConfigError, MixtureError
from doremi.methods import by_mixture
from doremi.model.operations import of_model
from doremi.model.presets import shape
from doremi.pipeline import look
from doremi.pipeline.checks import check
from doremi.pipeline.first_seeds import first_noise
from doremi.plan import calibration, footprint
from doremi.plan.calibration import Measured
from doremi.plan.stages import Stage, stages
from doremi.plan.trials import MEASURED, Trials, alike, card_name
from doremi.plan.whole import as_trained_on, too_few_kept, trainings_at_once, whole_run
from doremi.rundir.context import Context
from doremi.rundir.corpora import changes
from doremi.rundir.corpora import find as find_corpus
from doremi.rundir.data_request import domain_sources
from doremi.rundir.graph import Graph
from doremi.rundir.layout import RunDirectory
from doremi.rundir.outgrown import in_words, outgrown
from doremi.rundir.schedule import Left
from doremi.rundir.weights import candidate_name, check_limits, plain_record, shape_of
from doremi.rundir.yardstick import remarks
from doremi.statistics.looks import PLAN
from doremi.statistics.needed import Needed
from doremi.training.save_times import expected as expected_saves


@dataclass(frozen=True)
class Plan:
    """A run's counts and measurements."""

    config: RunConfig
    graph: Graph
    stages: list[Stage]
    device: torch.device
    measured: dict[tuple[str, str], Measured]
    """By kind and size; what this device cannot do is missing."""
    preparation: dict[str, Any] | None
    """`seconds` and `memory` of preparing the corpus; None where it is prepared."""
    final_size: str
    final_operations: int
    at_once: int = 1
    """Trainings that go on at the same time."""
    how: str = MEASURED
    """Where seconds and memory are from."""
    noise: tuple[Needed, int] | None = None
    """What it takes to prove one per cent, and with how many seeds that is known; None before two are trained."""
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> TrainingConfig:
        """With every `auto` replaced."""
        settings = Context(self.config, self.graph.known).settings
        assert settings is not None
        return settings

    def parameters(self, size: str) -> int:
        """Of a model of the run."""
        counts = Context(self.config, self.graph.known).counts(size)
        assert counts is not None
        return counts.parameters

    @property
    def corpus(self) -> Corpus:
        corpus = self.graph.known.corpus
        assert corpus is not None
        return corpus

    @property
    def vocab_size(self) -> int:
        return self.corpus.tokenizer.vocab_size

    @property
    def estimated(self) -> bool:
        """Whether what is trained on is not known yet: only a corpus that was written has a fingerprint."""
        return not self.corpus.training.fingerprint

    @property
    def done(self) -> int:
        """Pieces of work that are finished."""
        return sum(stage.number - len(stage.left) for stage in self.stages)

    def rest(self) -> Plan:
        """Of what is not finished. Begun trainings count as if they had not begun."""
        return replace(self, stages=[stage.rest() for stage in self.stages if stage.left])

    @property
    def operations(self) -> int:
        return sum(stage.operations for stage in self.stages)

    @property
    def corpus_bytes(self) -> int:
        return footprint.corpus_bytes(self.corpus)

    @property
    def disk(self) -> int:
        """Bytes at the end."""
        return self.corpus_bytes + sum(stage.disk for stage in self.stages)

    @property
    def most_disk(self) -> int:
        """Bytes at any time, at most: with the checkpoints that a training has while it runs."""
        done, most = self.corpus_bytes, 0
        for stage in self.stages:
            done += stage.disk
            most = max(most, done + stage.each.spare)
        return most

    @property
    def loading(self) -> float | None:
        """Seconds to start the program."""
        return statistics.median(m.loading for m in self.measured.values()) if self.measured else None

    def seconds(self, stage: Stage) -> float | None:
        """Of all trainings of a stage; None where it cannot be tried here."""
        found = self._measured(stage)
        if found is None:
            return None
        each = stage.each
        if stage.kind == "losses":
            return stage.number * each.losses_batches * found.losses
        saves = expected_saves(each.checkpoint_every, each.steps, each.steps * found.step)
        one = found.start + each.steps * found.step + saves * found.saving
        return self._once(stage, found) + stage.number * (one + each.evaluation_batches * found.evaluation)

    def _measured(self, stage: Stage) -> Measured | None:
        return self.measured.get(("proxy" if stage.kind == "losses" else stage.kind, stage.size))

    def _before(self, stage: Stage) -> list[Stage]:
        return self.stages[: self.stages.index(stage)]

    def _once(self, stage: Stage, found: Measured) -> float:
        """Seconds that only the first training of its kind and size pays: loading libraries, compiling graphs.

        A proxy is of the reference's size, which has compiled what both need. Without the compiler sizes share it all.
        """
        alike = {s.kind for s in self._before(stage) if s.size == stage.size or not self.settings.compile} - {"losses"}
        if not alike:
            return found.once
        plain = self.measured.get(("plain", stage.size))
        if stage.kind == "proxy":
            return found.once if plain is None else max(0.0, found.once - plain.once)
        return 0.0

    def memory(self, stage: Stage) -> int | None:
        """Peak of the process by the end of a stage: on a CPU it keeps what it has had (`memory.py`)."""
        found = self._measured(stage)
        if found is None or self.device.type == "cuda":
            return found.memory if found else None
        return max(m.memory for s in (*self._before(stage), stage) if (m := self._measured(s)))

    def total_seconds(self) -> float | None:
        """Of the whole, on the clock; None if a part is not known."""
        if self.loading is None:
            return None
        each: dict[str, float] = {}
        for stage in self.stages:
            seconds = self.seconds(stage)
            if seconds is None:
                return None
            each |= {node.id: seconds / stage.number for node in stage.nodes}
        work = Left.of(self.graph, lambda node: node.id in each, anew=True)
        preparation = self.preparation["seconds"] if self.preparation else 0.0
        return self.loading + preparation + work.makespan(self.at_once, lambda node: each[node.id])

    def one_seed(self) -> float | None:
        """Seconds on the clock of one more seed of every candidate; None if a part is not known."""
        total = 0.0
        for stage in self.stages:
            if stage.role not in ("main", "longer"):
                continue
            seconds, mixtures = self.seconds(stage), {(node.mixture, node.method) for node in stage.nodes}
            if seconds is None:
                return None
            total += len(mixtures) * seconds / stage.number
        return total / self.at_once or None

    def total_memory(self) -> int | None:
        """The largest of any stage, among those that can be tried here, as often as trainings go on at once."""
        parts = [None if (one := self.memory(stage)) is None else self.at_once * one for stage in self.stages]
        parts += [self.preparation["memory"]] if self.preparation else []
        return max((part for part in parts if part is not None), default=None)


def make(config: RunConfig, final_size: str | None, say: Callable[[str], None], *, measure: bool = False) -> Plan:
    """Count, survey and measure; `say` is told what is being measured.

    On a GPU measuring means compiling, which takes a minute. There arithmetic answers, unless it is to `measure`.
    `final_size` is the preset of the final run, the largest candidate's if None. `ConfigError` for what cannot be
    planned, `MixtureError` for limits that no mixture over the prepared corpus keeps.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("doremi plan: measures one process; run it without torchrun, more processes share the time")
    check(config, search=True)
    final = shape(final_size, None, {}) if final_size is not None else None
    directory, world, notes = RunDirectory(config.root), start(config.training.timeout), _notes(config)
    preparation = None
    if (found := find_corpus(config)) is not None:
        corpus = as_trained_on(config, found)
        check_limits(config, corpus)
        warning = changes(config, corpus)
        notes += [warning] if warning else []
    else:
        for name, files in find_all(domain_sources(config)).items():
            say(f"{name}: {describe(files)}")
        say("measuring the preparation of the corpus ...")
        preparation = calibration.measure_preparation(config)
        surveyed = Corpus.said_by(preparation["manifest"], directory.corpus_folder)
        corpus = as_trained_on(config, replace(surveyed, given=config.data.given))
        config = _within_limits(config, corpus, notes)
    if corpus.kept is not None and not corpus.kept.fingerprint:
        notes.append("not counted: seconds of choosing the documents to train on, in one pass over all tokens")
    notes += too_few_kept(config, corpus)
    name, training = _final_run(config, final_size, final, corpus)
    graph = whole_run(config, corpus, world)
    at_once = trainings_at_once(config, graph, world)
    notes += remarks(config, graph)
    if (warning := in_words(outgrown(corpus, graph, config.kept_share))) is not None:
        notes.append(warning)
    if any(node.role == "own" and not graph.done(node) for node in graph.nodes):
        notes.append("not counted: models of your own that `doremi train --mixture` has begun")
    found = stages(config, graph)
    notes += filter(None, (few_tokens(stage.size, config.run_tokens, stage.body) for stage in _each_size(found)))
    trials = Trials(config, corpus, None if measure else card_name(world.device), directory.root, notes, say)
    measured = {(s[0].kind, s[0].size): one for s in alike(found) if (one := trials.of(s, graph)) is not None}
    operations = round(training * config.budget / config.data.sequence_length)
    return Plan(
        config,
        graph,
        found,
        world.device,
        measured,
        preparation,
        name,
        operations,
        at_once=at_once,
        how=trials.how,
        noise=first_noise(config, directory, graph.record()),
        notes=notes,
    )


def _each_size(stages: list[Stage]) -> list[Stage]:
    """One stage of each size that is trained."""
    return list({stage.size: stage for stage in stages}.values())


def _final_run(
    config: RunConfig, name: str | None, description: dict[str, Any] | None, corpus: Corpus
) -> tuple[str, int]:
    """Its size, and operations for each sequence; `ConfigError` where those of a model of the run cannot be counted."""
    vocab_size, length = corpus.tokenizer.vocab_size, config.data.sequence_length
    names = dict.fromkeys([*config.size_names(), config.size_name])
    sizes = {size: of_model(shape_of(config, size), vocab_size, length).training for size in names}
    if name is not None and description is not None:
        return name, of_model(description, vocab_size, length).training
    return max(((size, sizes[size]) for size in config.size_names()), key=lambda item: item[1])


def _notes(config: RunConfig) -> list[str]:
    notes = ["not counted: verdict and report (seconds), and text on the disk (logs, JSON, the report)"]
    if config.candidates.seeds > 1:
        notes.append(f"not counted: evaluating models anew, where {FIRST} held-out documents of a domain are too few")
    shorter = ", and training at equal compute is shorter then" if config.candidates.equal_compute else ""
    if config.rounds.max > 1:
        most = f"at most {config.rounds.max} rounds are counted"
        notes.append(f"{most}. They end when the mixture stays the same{shorter}")
    if config.candidates.race:
        notes.append("of a race, those who stand first are counted as finalists. Others cost the same")
    if config.verdict.looks == "planned":
        notes.append(f"seeds of the present look are counted. `--until decided` may go on to {PLAN[-1]}")
    if config.proxy.stop == "auto":
        most = "all steps of a proxy are counted"
        notes.append(f"{most}. With proxy.stop auto it ends once its weights have settled{shorter}")
    for name in missing_files(config):
        notes.append(f"{name} is not there yet. It is counted as a mixture of its own, and its epochs are not shown")
    if config.reference.reuse is not None:
        notes.append(f"references that {config.reference.reuse} may already hold are counted as trained here")
    if config.downstream.tasks is not None:
        notes.append("not counted: few-shot tasks")
    return notes


def _within_limits(config: RunConfig, corpus: Corpus, notes: list[str]) -> RunConfig:
    """The configuration, without limits that an estimated corpus does not allow: only a prepared one can say so."""
    try:
        check_limits(config, corpus)
    except MixtureError as error:
        notes.append(f"by these estimates limits cannot be kept: {error}")
        return config.model_copy(update={"limits": LimitsConfig()})
    return config


def missing_files(config: RunConfig) -> list[str]:
    """Mixture files that are still to be made."""
    there = look.files(config, config.root)
    return [name for name in look.named_files(config) if name not in there]


# -- epochs ----------------------------------------------------------------------------------------------------------


def epochs(plan: Plan) -> dict[str, list[float]]:
    """Passes over each domain at the budget, `[K]`, of every mixture that is known, by its name and as limited.

    Natural and uniform, the reference mixture, the candidates (files if they are there), and those that a search has
    found.
    """
    config, known, missing = plan.config, plan.graph.known, missing_files(plan.config)
    versions = {record.version: record for record in known.found.values()}
    found = {c.name: versions[c.version] for c in plan.graph.candidates if c.version in versions and c.role == "found"}
    named = dict.fromkeys(["natural", "uniform", config.reference.mixture, *config.candidate_mixtures()])
    plain = [name for name in named if name not in missing and name not in by_mixture()]
    records = {candidate_name(name): plain_record(config, plan.corpus, name, known.files) for name in plain}
    domains = {name: record.domains or {} for name, record in {**found, **records}.items()}
    return {name: [counts[domain].epochs for domain in plan.corpus.domains] for name, counts in domains.items()}
