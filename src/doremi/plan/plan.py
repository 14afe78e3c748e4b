"""`doremi plan`: what a run costs before it starts, and its share of the final run.

Counts come from `costs` (exact), seconds and memory from `calibration` (measured on this device). Where the corpus is
not prepared yet, it is surveyed, and what depends on it is marked as an estimate. Nothing is left on the disk.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from doremi.config import RunConfig
from doremi.config.limits import LimitsConfig
from doremi.corpus.kept import check_batches, kept_folder
from doremi.corpus.manifest import DomainEntry, SplitCounts
from doremi.corpus.sources import describe, find_all
from doremi.corpus.value import Corpus
from doremi.distributed import start
from doremi.errors import ConfigError, DataError, MixtureError, TrainingError
from doremi.files import read_json
from doremi.mixture.names import LEARNED
from doremi.model.operations import of_model
from doremi.model.presets import shape
from doremi.pipeline.tournament import check
from doremi.pipeline.workspace import recorded_choices, resolved
from doremi.plan import calibration, footprint
from doremi.plan.calibration import Measured
from doremi.plan.costs import Counter, Stage, is_there
from doremi.rundir.corpora import changes
from doremi.rundir.corpora import find as find_corpus
from doremi.rundir.data_request import domain_sources
from doremi.rundir.layout import RunDirectory
from doremi.rundir.mixtures import candidate_name, check_limits, found_weights, plain_record, record


@dataclass(frozen=True)
class Plan:
    """A run's counts and measurements."""

    counter: Counter
    stages: list[Stage]
    measured: dict[tuple[str, str], Measured]
    """By kind and size; what this device cannot do is missing."""
    preparation: dict[str, Any] | None
    """`seconds` and `memory` of preparing the corpus; None where it is prepared."""
    final_size: str
    final_operations: int
    notes: list[str] = field(default_factory=list)

    @property
    def estimated(self) -> bool:
        """Whether what is trained on is not known yet: only a corpus that was written has a fingerprint."""
        return not self.counter.corpus.training.fingerprint

    @property
    def operations(self) -> int:
        return sum(stage.operations for stage in self.stages)

    @property
    def corpus_bytes(self) -> int:
        return footprint.corpus_bytes(self.counter.corpus)

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
            most = max(most, done + stage.spare)
        return most

    @property
    def loading(self) -> float | None:
        """Seconds to start the program."""
        return statistics.median(m.loading for m in self.measured.values()) if self.measured else None

    def seconds(self, stage: Stage) -> float | None:
        """Of all trainings of a stage; None where it cannot be tried here."""
        if not stage.number:
            return 0.0
        found = self.measured.get(("proxy" if stage.kind == "losses" else stage.kind, stage.size))
        if found is None:
            return None
        if stage.kind == "losses":
            return stage.number * stage.losses_batches * found.losses
        each = found.start + stage.steps * found.step + stage.saves * found.saving
        return self._once(stage, found) + stage.number * (each + stage.evaluation_batches * found.evaluation)

    def _once(self, stage: Stage, found: Measured) -> float:
        """Seconds that only the first training of its kind and size pays: loading libraries, compiling graphs.

        A proxy is of the reference's size, which has compiled what both need. Without the compiler sizes share it all.
        """
        before = [s for s in self.stages[: self.stages.index(stage)] if s.number]
        if stage.kind == "proxy":
            plain = self.measured.get(("plain", stage.size))
            return max(0.0, found.once - plain.once) if plain is not None else found.once
        if any(s.kind == stage.kind and (s.size == stage.size or not self.counter.settings.compile) for s in before):
            return 0.0
        return found.once

    def memory(self, stage: Stage) -> int | None:
        """Peak of the process by the end of a stage: on a CPU it keeps what it has had (`memory.py`)."""
        own = self._own_memory(stage)
        if own is None or self.counter.device.type == "cuda":
            return own
        before = [s for s in self.stages[: self.stages.index(stage)] if s.number]
        return max([own, *(m for s in before if (m := self._own_memory(s)) is not None)])

    def _own_memory(self, stage: Stage) -> int | None:
        found = self.measured.get(("proxy" if stage.kind == "losses" else stage.kind, stage.size))
        return found.memory if found else None

    def total_seconds(self) -> float | None:
        """Of the whole; None if a part is not known."""
        parts = [self.loading, *(self.seconds(stage) for stage in self.stages)]
        parts += [self.preparation["seconds"]] if self.preparation else []
        return sum(part for part in parts if part is not None) if None not in parts else None

    def total_memory(self) -> int | None:
        """The largest of any stage, among those that can be tried here."""
        parts = [self.memory(stage) for stage in self.stages if stage.number]
        parts += [self.preparation["memory"]] if self.preparation else []
        return max((part for part in parts if part is not None), default=None)


def make(config: RunConfig, final_size: str | None, say: Callable[[str], None]) -> Plan:
    """Count, survey and measure; `say` is told what is being measured.

    `final_size` is the preset of the final run, the largest candidate's if None. `ConfigError` for what cannot be
    planned, `MixtureError` for limits that no mixture over the prepared corpus keeps.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("doremi plan: measures one process; run it without torchrun, more processes share the time")
    check(config, search=True)
    final = shape(final_size, None, {}) if final_size is not None else None
    directory, world, notes = RunDirectory(config.root), start(config.training.timeout), _notes(config)
    settings = resolved(config, recorded_choices(directory), world)
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
        preparation = calibration.measure_preparation(config, settings)
        corpus = as_trained_on(config, Corpus.said_by(preparation["manifest"], directory.corpus_folder))
        config = _within_limits(config, corpus, notes)
    _check_kept(config, corpus, notes)
    counter = Counter(config, settings, corpus, world.device)
    stages = counter.stages()
    sizes = {size: counter.operations(size) for size in config.size_names()}
    if final is None:
        final_size, of_final = max(sizes.items(), key=lambda item: item[1].training)
    else:
        of_final = of_model(final, counter.vocab_size, counter.length)
    measured = dict(_measured(counter, stages, notes, say))
    operations = round(of_final.training * config.budget / counter.length)
    return Plan(counter, stages, measured, preparation, str(final_size), operations, notes)


def as_trained_on(config: RunConfig, corpus: Corpus) -> Corpus:
    """A corpus with the documents that epoch-matched runs keep of it; until these are chosen, an estimate of them."""
    if config.kept_share == 1:
        return corpus
    folder = kept_folder(corpus, config.kept_share)
    if (folder / "manifest.json").exists():
        kept = Corpus.read(folder)
        if kept.whole == corpus.fingerprint:
            return replace(corpus, kept=kept)
    return replace(corpus, kept=_expected(corpus, config.kept_share))


def _expected(corpus: Corpus, share: Fraction) -> Corpus:
    """About what a share of each domain is: one document at least. Without a fingerprint, for it is an estimate."""
    entries = {}
    for name, entry in corpus.entries.items():
        documents, tokens = entry.train.documents, entry.train.tokens
        fewer = max(1, round(share * documents))
        kept = SplitCounts(documents=fewer, tokens=max(round(share * tokens), tokens // documents))
        entries[name] = DomainEntry(entry.folder, kept)
    return replace(corpus, folder=kept_folder(corpus, share), entries=entries, share=str(share), fingerprint="")


def _check_kept(config: RunConfig, corpus: Corpus, notes: list[str]) -> None:
    """`DataError` where a run will refuse to train on what is kept; a note where that is only estimated."""
    if corpus.kept is None:
        return
    estimated = not corpus.kept.fingerprint
    if estimated:
        notes.append("not counted: seconds of choosing the documents to train on, in one pass over all tokens")
    try:
        check_batches(corpus, corpus.kept, config.training.batch_size, config.data.sequence_length)
    except DataError as error:
        if not estimated:
            raise
        notes.append(f"by these estimates the run will be refused: {error}")


def _notes(config: RunConfig) -> list[str]:
    notes = ["not counted: verdict and report (seconds), and text on the disk (logs, JSON, the report)"]
    shorter = ", and training at equal compute is shorter then" if config.candidates.equal_compute else ""
    if config.rounds.max > 1:
        most = f"at most {config.rounds.max} rounds are counted"
        notes.append(f"{most}. They end when the mixture stays the same{shorter}")
    if config.proxy.stop == "auto":
        most = "all steps of a proxy are counted"
        notes.append(f"{most}. With proxy.stop auto it ends once its weights have settled{shorter}")
    for name in config.plain_mixtures():
        if not is_there(name):
            notes.append(
                f"{name} is not there yet. It is counted as a mixture of its own, and its epochs are not shown"
            )
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


def _measured(
    counter: Counter, stages: list[Stage], notes: list[str], say: Callable[[str], None]
) -> Iterator[tuple[tuple[str, str], Measured]]:
    """Each kind of training at each size once."""
    kinds = dict.fromkeys((s.kind, s.size) for s in stages if s.number and s.kind != "losses")
    for kind, size in kinds:
        say(f"measuring {'plain training' if kind == 'plain' else 'a proxy'} of {size} ...")
        try:
            found = calibration.measure(counter.config, counter.settings, counter.corpus, kind, size)
        except TrainingError as error:
            notes.append(str(error))
        else:
            yield (kind, size), found


# -- epochs ----------------------------------------------------------------------------------------------------------


def epochs(plan: Plan) -> dict[str, list[float]]:
    """Passes over each domain at the budget, `[K]`, of every mixture that is known, by its name and as limited.

    Natural and uniform, the reference mixture, the candidates (files if they are there), and DoReMi's own once the run
    directory has it.
    """
    config, corpus = plan.counter.config, plan.counter.corpus
    directory = RunDirectory(config.root)
    names = filter(is_there, dict.fromkeys(["natural", "uniform", config.reference.mixture, *config.plain_mixtures()]))
    records = {candidate_name(name): plain_record(config, directory, corpus, name) for name in names}
    path = directory.mixture_path(LEARNED)
    if path.exists():
        found = found_weights(read_json(path, "mixture"))
        records = {LEARNED: record(config, corpus, found), **records}
    return {name: [value["domains"][domain]["epochs"] for domain in corpus.domains] for name, value in records.items()}
