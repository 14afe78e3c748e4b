"""What a run tells while it works: each event is a value that can cross to another process.

    Started, Began, Stepped, Measured, Evaluated, Alarmed, MixtureFound, Finished, Stopped, Failed    of one job
    Reading, Learning                                                                                 of a preparation
    Whole, Said, Dropped                                                                              of the run

`job` is the name of a node of the graph (`doremi jobs`). Events of one job come in the order above. `Measured`,
`Evaluated` and `Alarmed` are the records of metrics.jsonl (docs/formats.md). Shapes: K domains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Anything that a listener hears of."""


# -- of one job --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started(Event):
    """Work on a job has begun: what it needs is loaded."""

    job: str


@dataclass(frozen=True)
class Began(Event):
    """A training makes its first step next, or goes on after `step`."""

    job: str
    key: str
    """Hash of all that its result depends on."""
    objective: str
    """`plain`, or what a proxy minimises."""
    steps: int
    step: int
    """Steps that are done."""
    tokens_per_step: int
    domains: tuple[str, ...]
    """Names `[K]`, in the order of every list that follows."""
    operations: int | None = None
    """Matrix operations that a step needs, on all devices together; None where they cannot be counted."""
    peak: float | None = None
    """Operations a second that all devices together can do, by their data sheet; None where that is not known."""


@dataclass(frozen=True)
class Stepped(Event):
    """A step is done; `tokens` are those of all steps so far."""

    job: str
    step: int
    steps: int
    tokens: int


@dataclass(frozen=True)
class Measured(Event):
    """The steps since the measurement before, summed up: a `train` record. What is by domain is `[K]`."""

    job: str
    step: int
    tokens: int
    loss: float
    """Nats a token."""
    learning_rate: float
    gradient_norm: float
    domain_loss: Sequence[float | None]
    """None where a domain had no token."""
    domain_tokens: Sequence[int]
    weights: Sequence[float] | None
    average_weights: Sequence[float] | None
    scores: Sequence[float] | None
    """The last three are None for a plain training."""

    def record(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        return _record("train", self)


@dataclass(frozen=True)
class SplitLosses:
    """Losses on one half of the held-out documents, by domain `[K]`."""

    loss: Sequence[float]
    """Nats a token."""
    bits_per_byte: Sequence[float]


@dataclass(frozen=True)
class Evaluated(Event):
    """An evaluation on the held-out documents, by half: an `evaluation` record."""

    job: str
    step: int
    tokens: int
    splits: Mapping[str, SplitLosses]

    def record(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        record = _record("evaluation", self)
        splits = record.pop("splits")
        return {**record, **splits}


@dataclass(frozen=True)
class Alarmed(Event):
    """Something looks wrong, seen for the first time: an `alarm` record."""

    job: str
    step: int
    name: str
    domains: tuple[str, ...]
    reason: str
    advice: str

    def record(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        return _record("alarm", self)


@dataclass(frozen=True)
class MixtureFound(Event):
    """A search has made a mixture."""

    job: str
    mixture: str
    weights: Mapping[str, float]
    """By domain."""


@dataclass(frozen=True)
class Finished(Event):
    """A job is done."""

    job: str
    seconds: float


@dataclass(frozen=True)
class Stopped(Event):
    """A job was asked to stop and has saved what is done; it goes on some other time."""

    job: str


@dataclass(frozen=True)
class Failed(Event):
    """A job ended with an error."""

    job: str
    message: str
    """One line: the error that the command ends with."""


# -- of a preparation --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading(Event):
    """Source files are read, packed ones as they lie on the disk."""

    job: str
    what: str
    """Whose text, and for what."""
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Learning(Event):
    """A tokenizer is trained; `share` of this step of it is done, from 0 to 1, and grows evenly with time."""

    job: str
    what: str
    share: float


# -- of the run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole(Event):
    """How far the whole run is."""

    trainings_done: int
    trainings: int
    """All that are known of yet."""
    seconds_left: float | None
    """None while it cannot be told."""


@dataclass(frozen=True)
class Said(Event):
    """A line for the user."""

    message: str


@dataclass(frozen=True)
class Dropped(Event):
    """A listener has failed, and hears of nothing any more."""

    listener: str
    """Its name."""
    reason: str
    """One line."""


def _record(kind: str, event: Event) -> dict[str, Any]:
    """The fields of an event as a record of metrics.jsonl, whose folder says whose they are."""
    fields = asdict(event)
    del fields["job"]
    return {"kind": kind, **fields}
