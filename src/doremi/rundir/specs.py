"""What a piece of work consists of, as values that are complete before it begins, and their keys.

A key is the hash of a spec. It depends on what a result depends on and on nothing else: not on a name, a role, a date,
a place or a version of software. Fields at their neutral value (config/neutral.py) are left out of it, so that a new
field, or a new default, leaves old keys as they are. tests/test_specs.py holds golden keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from doremi.config import LimitsConfig, ProxyConfig, TrainingConfig
from doremi.config.neutral import without_neutral
from doremi.config.section import reach_of
from doremi.corpus.pool import Part
from doremi.files import FORMAT, key_of
from doremi.rundir.nodes import Kind

DIGITS = 16  # of a key, in the name of a folder; the whole key stands in the folder
VERSION_DIGITS = 6  # of a key, in the name of a version of a mixture
PART_DIGITS = 8  # of the hash of a part of the held-out documents, in the name of a file


@dataclass(frozen=True)
class Scoring:
    """How a proxy's domains are scored and weighted."""

    proxy: ProxyConfig
    reference: str
    """Key of the reference's training."""
    losses: str
    """stored or live: rounded alike, but computed in batches of different shapes."""

    def described(self) -> dict[str, Any]:
        # `sampling` is in the weights that its batches are drawn with, `seeds` is how many such trainings there are
        options = without_neutral(self.proxy, ProxyConfig.model_fields.keys() - {"seeds", "sampling"})
        return {**options, "reference": self.reference, "losses": self.losses}


@dataclass(frozen=True)
class TrainingSpec:
    """One training. A reference, a candidate and a model of the user's are alike where this is alike."""

    corpus: str
    """Fingerprint of what is trained on."""
    sequence_length: int
    model: str
    """JSON of the model's full description (`model.presets.shape`)."""
    settings: TrainingConfig
    """With every `auto` replaced."""
    weights: tuple[float, ...]
    """What batches are drawn with, in the order of the corpus' domains."""
    seed: int
    scoring: Scoring | None = None
    """None for ordinary training."""
    device: str = "cpu"
    """Its kind. Threads matter on a CPU only, and whether kernels are deterministic on a GPU only."""
    device_memory: int | None = None
    """Bytes of it, where it is a GPU: what is computed at once, as `training.accumulation` is. No part of the key."""

    @property
    def order(self) -> str:
        """Name of the stream of batches: the proxy meets sequences in another order than its reference."""
        return f"{'main' if self.scoring is None else 'proxy'}/{self.seed}"

    @property
    def description(self) -> dict[str, Any]:
        return json.loads(self.model)

    @property
    def tokens(self) -> int:
        """Trained on."""
        return self.settings.steps * self.settings.batch_size * self.sequence_length

    kind: ClassVar[Kind] = "training"

    @cached_property
    def key(self) -> str:
        matters = {name for name in TrainingConfig.model_fields if reach_of(TrainingConfig, name)}
        if self.settings.precision != "bfloat16":
            matters.discard("parallel")
        matters.discard("deterministic" if self.device == "cpu" else "threads")
        return key_of(
            {
                "format": FORMAT,
                "kind": self.kind,
                "corpus": self.corpus,
                "sequence_length": self.sequence_length,
                "model": self.description,
                "training": without_neutral(self.settings, matters),
                "weights": list(self.weights),
                "seed": self.seed,
                "order": self.order,
                "scoring": None if self.scoring is None else self.scoring.described(),
            }
        )


@dataclass(frozen=True)
class LossesSpec:
    """The losses of a reference on all training sequences, computed once and kept."""

    corpus: str
    sequence_length: int
    reference: str

    kind: ClassVar[Kind] = "losses"

    @cached_property
    def key(self) -> str:
        return key_of(
            {
                "format": FORMAT,
                "kind": self.kind,
                "corpus": self.corpus,
                "sequence_length": self.sequence_length,
                "reference": self.reference,
            }
        )


@dataclass(frozen=True)
class MixtureSpec:
    """A mixture that a method makes of finished trainings."""

    method: str
    corpus: str
    inputs: tuple[tuple[str, str], ...]
    """What the method calls the trainings (DoReMi: their seeds), and their keys."""
    limits: LimitsConfig
    budget: int
    options: str
    """JSON of what its record says of how it was found."""
    sizes: tuple[tuple[str, int], ...] = ()
    """Training tokens of whole domains, of those where they are not what was read."""

    kind: ClassVar[Kind] = "mixture"

    @cached_property
    def key(self) -> str:
        return key_of(
            {
                "format": FORMAT,
                "kind": self.kind,
                "method": self.method,
                "corpus": self.corpus,
                "inputs": [list(pair) for pair in self.inputs],
                "limits": without_neutral(self.limits, LimitsConfig.model_fields.keys()),
                "budget": self.budget,
                "options": json.loads(self.options),
                **({"sizes": dict(self.sizes)} if self.sizes else {}),
            }
        )

    @property
    def version(self) -> str:
        """What tells it from other mixtures of the method."""
        return f"{self.method}.{self.key[:VERSION_DIGITS]}"


@dataclass(frozen=True)
class FewshotSpec:
    """A model asked few-shot tasks."""

    training: str
    asked: str
    """JSON of shots, limit and how answers are made."""
    tasks: str
    """JSON of the hashes of the tasks' files."""

    kind: ClassVar[Kind] = "fewshot"

    @cached_property
    def key(self) -> str:
        return key_of(
            {"format": FORMAT, "kind": self.kind, "training": self.training, "asked": self.asked, "tasks": self.tasks}
        )


@dataclass(frozen=True)
class PartSpec:
    """How many held-out documents a verdict needs, judged from four trainings."""

    trainings: tuple[str, ...]
    """Keys: both seeds of the first candidate, then those of the second."""
    natural: tuple[float, ...]
    """What domains weigh in one of the averages."""
    seeds: int
    """That each candidate has."""

    kind: ClassVar[Kind] = "validation"

    @cached_property
    def key(self) -> str:
        return key_of(
            {
                "format": FORMAT,
                "kind": self.kind,
                "trainings": list(self.trainings),
                "natural": list(self.natural),
                "seeds": self.seeds,
            }
        )


@dataclass(frozen=True)
class EvaluationSpec:
    """A model on other held-out documents than those that its training was evaluated on."""

    training: str
    documents: Part

    kind: ClassVar[Kind] = "evaluation"

    @cached_property
    def key(self) -> str:
        described = {"training": self.training, "documents": list(self.documents)}
        return key_of({"format": FORMAT, "kind": self.kind, **described})

    @property
    def file(self) -> str:
        """Its name in the folder of the training."""
        return evaluation_file(self.documents)


def evaluation_file(documents: Part) -> str:
    """In a training's folder, the losses on a part of what is held out."""
    return f"evaluation.{key_of(list(documents))[:PART_DIGITS]}.f64"


@dataclass(frozen=True)
class ShardSpec:
    """A part of the corpus that is being prepared, as tokens."""

    key: str
    """Of the shard, as its record has it (corpus/shards/layout.py)."""
    corpus: str
    """The corpus's key."""
    name: str
    """`web/0`: the domain's folder, and which one it is."""
    bytes: int
    """Of source files, as they lie on the disk."""

    kind: ClassVar[Kind] = "shard"


Spec = ShardSpec | TrainingSpec | LossesSpec | MixtureSpec | FewshotSpec | PartSpec | EvaluationSpec


def canonical(value: Any) -> str:
    """JSON of a value, the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
