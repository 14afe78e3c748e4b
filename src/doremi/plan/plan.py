"""`doremi plan`: what a run costs before it starts, and its share of the final run.

Counts come from `costs` (exact), seconds and memory from `calibration` (measured on this device). Where the corpus is
not prepared yet, it is surveyed, and what depends on it is marked as an estimate. Nothing is left on the disk.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from doremi.config import PLAIN_MIXTURES, RunConfig
from doremi.config.limits import LimitsConfig
from doremi.corpus.kept import kept_folder
from doremi.distributed import start
from doremi.errors import ConfigError, MixtureError, TrainingError
from doremi.mixtures import check_limits, plain_record
from doremi.model import shape
from doremi.operations import of_model
from doremi.plan import calibration, footprint
from doremi.plan.calibration import Measured
from doremi.plan.costs import Counter, Stage
from doremi.runs import Corpus, RunDirectory
from doremi.tournament import check
from doremi.workspace import recorded_choices, resolved


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
        return self.preparation is not None

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
        return stage.number * (each + stage.evaluation_batches * found.evaluation)

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
    if (directory.corpus_folder / "manifest.json").exists():
        corpus = _as_trained_on(config, directory.corpus())
        check_limits(config, corpus)
    else:
        say("measuring the preparation of the corpus ...")
        preparation = calibration.measure_preparation(config, settings)
        corpus = Corpus(directory.corpus_folder, preparation["manifest"])
        config = _within_limits(config, corpus, notes)
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


def _as_trained_on(config: RunConfig, corpus: Corpus) -> Corpus:
    """A prepared corpus with the documents that epoch-matched runs keep of it, once these are chosen."""
    folder = kept_folder(corpus, config.kept_share)
    return replace(corpus, kept=Corpus.read(folder)) if (folder / "manifest.json").exists() else corpus


def _notes(config: RunConfig) -> list[str]:
    notes = ["not counted: verdict and report (seconds), and text on the disk (logs, JSON, the report)"]
    if config.rounds.max > 1:
        notes.append(f"{config.rounds.max} rounds are the most there will be: they end when the mixture stays")
    if config.reference.reuse is not None:
        notes.append(f"counted as trained: references that {config.reference.reuse} may already hold")
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
    """Passes over each domain at the budget, `[K]`, of natural, uniform and the other plain candidates, as limited."""
    config, corpus = plan.counter.config, plan.counter.corpus
    names = dict.fromkeys(["natural", "uniform", *(n for n in config.candidate_mixtures() if n in PLAIN_MIXTURES)])
    found = {}
    for name in names:
        entries = plain_record(config, RunDirectory(config.root), corpus, name)["domains"]
        found[name] = [entries[domain]["epochs"] for domain in corpus.domains]
    return found
