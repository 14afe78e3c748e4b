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
CHECKPOINT_BYTES = {"adamw": 12, "adafactor": 4}
"""Of a parameter in a checkpoint: itself, and two moments or next to nothing."""
BACKGROUND_BYTES = 2 * 10**9
"""Of a process's part of a checkpoint. From here on a GPU does not wait until it is written: that is seconds."""
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
    micro_batches: int = 1
    """At least: with fewer it has run out of memory."""


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


def saves_in_background(device: str, size: int) -> bool:
    """Whether `size` bytes of a process are copied to the host's memory, and written while the training goes on.

    On a CPU that would take memory and cores from the training itself.
    """
    return device == "cuda" and size >= BACKGROUND_BYTES


def copied(settings: TrainingConfig, machine: Machine, counts: Counts) -> int:
    """Bytes of the host's memory that a process needs while it saves in the background; 0 where it does not."""
    size = CHECKPOINT_BYTES[settings.optimizer] * counts.parameters // split_over(settings, machine.processes)
    return size if saves_in_background(machine.device, size) else 0


def fitted(settings: TrainingConfig, machine: Machine, work: Work) -> TrainingConfig:
    """With `auto` of `accumulation` and `recompute` replaced: the largest micro-batch that fits the GPU.

    Rather smaller micro-batches than activations that are computed again; on a CPU neither.
    """
    choices = list(_choices(settings, machine.processes, work))
    first = choices[0]
    if machine.device_memory is None or work.counts.saved is None:
        return first
    for choice in choices:
        needs = held(choice, work, machine.processes)
        if needs is not None and needs.total <= USABLE * machine.device_memory:
            return choice
    return choices[-1]


def more_micro_batches(settings: TrainingConfig, processes: int) -> int | None:
    """The next number that makes micro-batches half as large at most; None where they are one sequence already."""
    return next((n for n in _numbers(settings, processes) if n >= 2 * int(settings.accumulation)), None)


def _numbers(settings: TrainingConfig, processes: int) -> list[int]:
    """Micro-batches that a batch can be split into."""
    each = settings.batch_size // processes
    return [n for n in range(1, each + 1) if each % n == 0] or [1]


def _choices(settings: TrainingConfig, processes: int, work: Work) -> Iterator[TrainingConfig]:
    """All that `auto` may stand for, the fastest first."""
    ways: tuple[Recomputed, ...] = ("none", "block") if work.counts.layers else ("none",)
    numbers = [n for n in _numbers(settings, processes) if n >= work.micro_batches]
    for way in ways if settings.recompute == "auto" else (settings.recompute,):
        for number in numbers if settings.accumulation == "auto" else (settings.accumulation,):
            yield settings.model_copy(update={"recompute": way, "accumulation": number})
