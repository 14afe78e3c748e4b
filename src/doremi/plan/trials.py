"""What a plan knows of the time and memory of each kind of training: kept, measured now, or by arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.errors import TrainingError
from doremi.plan import calibration
from doremi.plan.calibration import Measured
from doremi.plan.estimate import as_taken, estimated
from doremi.plan.stages import Stage
from doremi.rundir.context import Context
from doremi.rundir.graph import Graph
from doremi.rundir.specs import LossesSpec, TrainingSpec

MEASURED = "time and memory are measured on a few steps"
TAKEN = "memory is arithmetic, and time is what this run's trainings have taken"
ARITHMETIC = "time and memory are arithmetic, see the note"


def card_name(device: torch.device) -> str | None:
    """Of a GPU; None for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def alike(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Stages that train, those of one kind and size together."""
    found: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        if not isinstance(stage.spec, LossesSpec):
            found.setdefault((stage.kind, stage.size), []).append(stage)
    return list(found.values())


@dataclass
class Trials:
    """Answers for one plan."""

    config: RunConfig
    corpus: Corpus
    card: str | None
    """The GPU whose data sheet answers where nothing is kept; None where it is measured."""
    root: Path
    notes: list[str]
    """Of the plan, to which reasons are added."""
    say: Callable[[str], None]
    how: str = MEASURED
    """Where the least certain answer is from."""

    def of(self, stages: Sequence[Stage], graph: Graph) -> Measured | None:
        """Of one kind of training at one size; None where this device cannot do it."""
        stage = stages[-1]
        spec = stage.spec
        assert isinstance(spec, TrainingSpec)
        what = f"{'plain training' if stage.kind == 'plain' else 'a proxy'} of {stage.size}"
        if (before := calibration.measured_before(self.config, spec, self.corpus)) is not None:
            self.say(f"{what}: as measured here on {before[1]}")
            return before[0]
        counts = Context(self.config, graph.known).counts(stage.size)
        if self.card is not None and counts is not None:
            found = estimated(spec, self.corpus, counts, self.card)
            if found is not None:
                return self._by_arithmetic(found, stages, what)
        self.say(f"measuring {what} ...")
        try:
            return calibration.measure(self.config, spec, stage.size, self.corpus)
        except TrainingError as error:
            self.notes.append(str(error))
            return None

    def _by_arithmetic(self, found: Measured, stages: Sequence[Stage], what: str) -> Measured:
        if (taken := as_taken(found, stages, self.root)) is not None:
            self.say(f"{what}: by the time that this run's own have taken")
            self.how = TAKEN if self.how == MEASURED else self.how
            return taken
        if self.how != ARITHMETIC:
            self.notes.append(
                f"time and memory are arithmetic by the data sheet of {self.card}. They may be twice or half of it. "
                "After the first training its time counts. `doremi plan --measure` takes a minute to measure them"
            )
        self.how = ARITHMETIC
        return found
