"""What one process of a training holds on its device, by arithmetic; and what `auto` means for it.

Three things: parameters with gradients and the optimiser's state; what the forward pass of a micro-batch leaves for the
backward pass; and the logits, in chunks where there is no room for more. Beside a proxy there may be its reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from doremi.config import TrainingConfig
from doremi.model.kept import kept
from doremi.rundir.known import Counts
from doremi.rundir.machine import Machine

USABLE = 0.8  # of a GPU's memory; the rest is the driver's, the allocator's gaps and passing copies
STATE_BYTES = {"adamw": 16, "adafactor": 8}
"""Of a parameter: itself, its gradient, and two moments or next to nothing."""
LOGITS_AT_LEAST = 4 * 512 * 2**20  # four copies of the smallest chunk of logits (model/room.py)
LESS = (
    "Set training.accumulation to auto or raise it, set training.recompute to block, use a smaller model, or split it "
    "over several GPUs: training.parallel fsdp and torchrun."
)
"""What to do about too little memory."""
Recomputed = Literal["none", "attention", "block"]


@dataclass(frozen=True)
class Held:
    """Bytes of one process."""

    state: int
    """Parameters, gradients and the optimiser's state."""
    activations: int
    """Of one micro-batch."""
    logits: int
    frozen: int = 0
    """The reference beside a proxy."""

    @property
    def total(self) -> int:
        return self.state + self.activations + self.logits + self.frozen


@dataclass(frozen=True)
class Work:
    """What a training works on, beside its settings."""

    counts: Counts
    logit_bytes: int
    """Of one sequence, in float32."""
    live: bool
    """Whether the reference computes its losses beside it."""


def logit_bytes(sequence_length: int, vocab_size: int) -> int:
    """Of one sequence, in float32."""
    return 4 * sequence_length * vocab_size


def split_over(settings: TrainingConfig, processes: int) -> int:
    """Processes that one copy of a model is split over."""
    return (settings.shard_size or processes) if settings.parallel == "fsdp" else 1


def held(settings: TrainingConfig, work: Work, processes: int) -> Held | None:
    """What each of so many processes holds on a GPU; None where a model's computations depend on the text."""
    counts = work.counts
    if counts.saved is None:
        return None
    split = split_over(settings, processes)
    rows = -(-settings.batch_size // (int(settings.accumulation) * processes))
    halved = 2 if settings.precision == "bfloat16" and settings.compile is True else 1
    logits = min(LOGITS_AT_LEAST, 4 * rows * work.logit_bytes)
    return Held(
        STATE_BYTES[settings.optimizer] * counts.parameters // split,
        rows * kept(counts, counts.saved, settings.recompute) // halved,
        logits,
        4 * counts.parameters // split if work.live else 0,
    )


def fitted(settings: TrainingConfig, machine: Machine, work: Work) -> TrainingConfig:
    """With `auto` of `accumulation` and `recompute` replaced: the largest micro-batch that fits the GPU.

    Rather smaller micro-batches than activations that are computed again; on a CPU neither.
    """
    choices = list(_choices(settings, machine.processes, work.counts))
    first = choices[0]
    if machine.device_memory is None or work.counts.saved is None:
        return first
    for choice in choices:
        needs = held(choice, work, machine.processes)
        if needs is not None and needs.total <= USABLE * machine.device_memory:
            return choice
    return choices[-1]


def _choices(settings: TrainingConfig, processes: int, counts: Counts) -> Iterator[TrainingConfig]:
    """All that `auto` may stand for, the fastest first."""
    ways: tuple[Recomputed, ...] = ("none", "block") if counts.layers else ("none",)
    each = settings.batch_size // processes
    numbers = [n for n in range(1, each + 1) if each % n == 0] or [1]
    for way in ways if settings.recompute == "auto" else (settings.recompute,):
        for number in numbers if settings.accumulation == "auto" else (settings.accumulation,):
            yield settings.model_copy(update={"recompute": way, "accumulation": number})
