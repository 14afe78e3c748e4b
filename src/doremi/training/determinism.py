"""On a GPU: whether a training repeats to the byte, and what is said where it cannot.

Many kernels of a GPU add with atomic operations, in whatever order they come. PyTorch has others that keep an order.
For cuBLAS it needs a workspace of fixed size, which must be set before its first product (`distributed.start`). On a
CPU every training repeats, and nothing here has an effect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from doremi.errors import TrainingError

_NONE_THERE = "does not have a deterministic implementation"


def set_deterministic(on: bool, device: torch.device) -> None:
    """From now on, kernels that keep an order (or any), on this device."""
    if device.type != "cuda":
        return
    torch.use_deterministic_algorithms(on)
    # it would fill all fresh memory with NaN, to catch what reads before it writes: a cost, and none of ours does
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def deterministic_or_said() -> Iterator[None]:
    """`TrainingError` that says what to set where an operation of a model cannot keep an order."""
    try:
        yield
    except RuntimeError as error:
        if _NONE_THERE not in str(error):
            raise
        operation = str(error).split(_NONE_THERE)[0].strip().split()[-1]
        raise TrainingError(
            f"{operation} of this model has no deterministic form on a GPU. Set training.deterministic to false; a "
            "repeated training then has other last digits"
        ) from None
