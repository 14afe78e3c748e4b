"""One piece of work of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from doremi.rundir.costs import Cost
from doremi.rundir.nodes import CandidateRole, Kind, Role
from doremi.rundir.specs import (
    DIGITS,
    EvaluationSpec,
    FewshotSpec,
    LossesSpec,
    MixtureSpec,
    PartSpec,
    Spec,
    TrainingSpec,
)


@dataclass(frozen=True)
class Node:
    """`id` is what people type and see. `spec` is None while something that it is made of is not known."""

    id: str
    kind: Kind
    role: Role
    spec: Spec | None = None
    needs: tuple[str, ...] = ()
    """Ids. They order the work and are no part of a key."""
    method: str = ""
    mixture: str = ""
    size: str = ""
    seed: int = 0
    round: int = 0
    cost: Cost | None = None
    """None where nothing is counted yet."""
    waits: str = ""
    """Why there is no spec."""
    draft: TrainingSpec | LossesSpec | None = None
    """Where there is no spec: what is known of it, without what it waits for. Its cost follows from this."""
    optional: bool = False
    """Whether it may turn out that it is not needed, as a later round."""

    @property
    def complete(self) -> bool:
        """Whether everything that it is made of is known."""
        return self.spec is not None or (self.kind in ("prepare", "corpus", "verdict") and not self.waits)

    @property
    def is_final(self) -> bool:
        """Whether it is a main model that is compared, and not one of a race's heats."""
        return self.role == "main" and not self.round

    @property
    def place(self) -> str | None:
        """Its folder or file in the run directory."""
        if isinstance(self.spec, TrainingSpec):
            return training_place(self.spec.key)
        if isinstance(self.spec, LossesSpec):
            return f"losses/{self.spec.key[:DIGITS]}"
        if isinstance(self.spec, MixtureSpec):
            return f"mixtures/{self.spec.version}.json"
        if isinstance(self.spec, FewshotSpec):
            return f"{training_place(self.spec.training)}/fewshot.json"
        if isinstance(self.spec, PartSpec):
            return f"validation/{self.spec.key[:DIGITS]}.json"
        if isinstance(self.spec, EvaluationSpec):
            return f"{training_place(self.spec.training)}/{self.spec.file}"
        return None

    @property
    def lock(self) -> str:
        """Name of the lock that is held by who does it, the same for all that make this file or folder (locks.py)."""
        return (self.place or self.id).replace("/", ".")

    @property
    def version(self) -> str:
        """Of a mixture: what tells it from others of the same name."""
        return self.spec.version if isinstance(self.spec, MixtureSpec) else ""


def training_place(key: str) -> str:
    """Where a training lies."""
    return f"trainings/{key[:DIGITS]}"


@dataclass(frozen=True)
class Found:
    """The mixtures of a candidate that a method makes: the node that makes each seed's."""

    role: CandidateRole
    method: str
    by_seed: Mapping[int, Node]

    def source(self, seed: int) -> Node | None:
        """What makes the mixture of a seed: for all seeds the same, where not each has a search of its own."""
        return self.by_seed.get(seed) if self.role == "per-seed" else next(iter(self.by_seed.values()), None)
