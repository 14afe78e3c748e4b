"""What is known of a run before it is planned: read from the disk once, and never by the graph itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from doremi.corpus.pool import Part
from doremi.corpus.value import Corpus
from doremi.files import key_of, read_json
from doremi.mixture.domains import Mixture
from doremi.mixture.record import MixtureRecord
from doremi.rundir.machine import Machine
from doremi.rundir.specs import ShardSpec, TrainingSpec

COUNTS = "counts.json"
PREPARE, CORPUS = "prepare", "corpus"
"""Ids of the first job, and of the one that puts shards together, where there are any."""


@dataclass(frozen=True)
class Counts:
    """Of a model with a vocabulary and a sequence length, counted with torch once and recorded."""

    body: int
    """Parameters without embeddings."""
    parameters: int
    """All of them."""
    forward: int | None
    """Floating-point operations of a sequence's losses; None where they depend on the text."""
    training: int | None
    """With their gradients."""
    saved: int | None
    """Bytes that a sequence's forward pass leaves for its backward pass."""
    scores: int = 0
    """Of these, attention's scores, which fused attention does not keep."""
    layers: int | None = None
    """Blocks; 0 where the model does not name them, None where this was counted before there was such a number."""
    in_blocks: int = 0
    """Of what is saved without the scores, that inside of blocks, and inside of attention."""
    in_attention: int = 0
    between: int = 0
    """Bytes of the hidden states that all blocks get."""


def counts(root: Path) -> dict[str, Counts]:
    """What models cost, as it was counted before."""
    path = root / COUNTS
    held = read_json(path, "counts of models")["counts"] if path.exists() else {}
    return {key: Counts(**value) for key, value in held.items()}


def counts_key(model: str, vocab_size: int, sequence_length: int) -> str:
    """Under which `Known.counts` has a model; `model` is JSON of its description."""
    return key_of([model, vocab_size, sequence_length])[:16]


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    steps: int
    sequences: int
    """That it has read, repeats included."""
    documents: Part = ()
    """Held-out documents that it was evaluated on; of old trainings, which do not say it, all."""


@dataclass(frozen=True)
class Asked:
    """A model that no candidate needs: the user's own (`doremi train --mixture`), or one of a sweep (`doremi tune`)."""

    spec: TrainingSpec
    size: str
    mixture: str
    role: Literal["own", "tune"] = "own"

    @property
    def id(self) -> str:
        """Of its node."""
        if self.role == "tune":
            return f"tune/{self.size}/rate-{self.spec.settings.learning_rate!r}"
        return f"own/{self.size}/{self.mixture}/seed-{self.spec.seed}"


@dataclass(frozen=True)
class Shards:
    """Of a corpus that is being prepared, and is large enough for jobs of its own: there while it is not complete."""

    shards: tuple[ShardSpec, ...]
    done: frozenset[str]
    """Keys."""

    @property
    def bytes_done(self) -> int:
        return sum(shard.bytes for shard in self.shards if shard.key in self.done)

    @property
    def bytes(self) -> int:
        """Of source files."""
        return sum(shard.bytes for shard in self.shards)

    def words(self) -> str:
        """`12 of 40 shards are done`."""
        return f"{len(self.done):,} of {len(self.shards):,} shards are done"


@dataclass(frozen=True)
class Known:
    """Everything but the configuration that the graph of a run depends on. Keys are whole."""

    corpus: Corpus | None = None
    """None before it is prepared. One without a fingerprint is an estimate: then no key is known."""
    shards: Shards | None = None
    """Of a corpus that is being prepared by several jobs."""
    machine: Machine | None = None
    counts: Mapping[str, Counts] = field(default_factory=dict)
    trained: Mapping[str, Trained] = field(default_factory=dict)
    begun: Mapping[str, int] = field(default_factory=dict)
    """By place: the step of the newest checkpoint, of trainings that are not finished."""
    stored: frozenset[str] = frozenset()
    """Keys of losses that are kept."""
    found: Mapping[str, MixtureRecord] = field(default_factory=dict)
    """Mixtures that methods have made."""
    files: Mapping[str, Mixture] = field(default_factory=dict)
    """Mixture files by the path that the configuration has. What is not there is missing."""
    tasks: str = ""
    """Hashes of the few-shot tasks' files, as JSON."""
    answered: frozenset[str] = frozenset()
    """Keys of finished few-shot evaluations."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """How many held-out documents verdicts need, by the key of the node that has judged it."""
    evaluated: frozenset[str] = frozenset()
    """Places of finished evaluations on other held-out documents than those of the training."""
    judged: frozenset[str] = frozenset()
    """Keys of the trainings that verdict.json compares."""
    asked: tuple[Asked, ...] = ()
    bits: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Bits per byte `[K]` of finished trainings by key, over all validation documents, where candidates race."""
    goal: int | None = None
    """Seeds of the look that a walk along planned looks is at."""
    assumed: bool = False
    """Whether unfinished trainings count as if they took all their steps: to say what a run costs at most."""

    @property
    def corpus_job(self) -> str:
        """The id of the job that the corpus is there after."""
        return PREPARE if self.shards is None else CORPUS
