"""A step's micro-batches on their way to the device, on a GPU read one step ahead.

Which sequences a step has is a pure function of the step, so that reading ahead changes no number. On a CPU it would
take from the step's own threads what it gives.

Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from doremi.corpus.loader import Batch, BatchStream
from doremi.model.transfer import to_device
from doremi.training.reference_losses import ReferenceLosses

Read = TypeVar("Read")
AHEAD = True
"""Whether a thread reads ahead, on a GPU."""


@dataclass(frozen=True)
class DeviceBatch:
    """A micro-batch on the device."""

    input_BT: Tensor
    label_BT: Tensor
    mask_BT: Tensor
    domain_B: Tensor
    reference_BT: Tensor | None = None
    """The reference's losses, where they are kept on disk."""

    @classmethod
    def of(cls, batch: Batch, device: torch.device, reference: ReferenceLosses | None = None) -> DeviceBatch:
        return cls.sent(batch, None if reference is None else reference.read(batch), device)

    @classmethod
    def sent(cls, batch: Batch, stored_BT: np.ndarray | None, device: torch.device) -> DeviceBatch:
        """What was read, on the device: tokens go there once, and are inputs and labels there."""
        tokens_BT = to_device(batch.tokens, device)
        mask_BT = _all_true(batch.input_BT.shape, device)
        reference_BT = None if stored_BT is None else to_device(stored_BT, device)
        return cls(tokens_BT[:, :-1], tokens_BT[:, 1:], mask_BT, to_device(batch.domain_B, device), reference_BT)


@cache
def _all_true(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Every token of a training counts. Nobody writes into it."""
    return torch.ones(shape, dtype=torch.bool, device=device)


def steps_of(
    stream: BatchStream, reference: ReferenceLosses | None, device: torch.device, done: int
) -> Iterator[list[DeviceBatch]]:
    """The micro-batches of the steps after the first `done`, without end."""

    def read(step: int) -> list[tuple[Batch, np.ndarray | None]]:
        batches = stream.micro_batches(step)
        return [(batch, None if reference is None else reference.read(batch)) for batch in batches]

    ahead = AHEAD and device.type == "cuda"
    for pairs in read_ahead(read, done) if ahead else map(read, count(done)):
        yield [DeviceBatch.sent(*pair, device) for pair in pairs]


def read_ahead(read: Callable[[int], Read], first: int) -> Iterator[Read]:
    """`read(first)`, `read(first + 1)`, ..., each on a thread while the one before is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming = thread.submit(read, first)
        for number in count(first + 1):
            given = coming.result()
            coming = thread.submit(read, number)
            yield given
