"""On a GPU: whether a training repeats to the byte, and what is said where it cannot.

Many kernels of a GPU add with atomic operations, in whatever order they come. PyTorch has others that keep an order.
For cuBLAS it needs a workspace of fixed size, which must be set before its first product (`distributed.start`). On a
CPU every training repeats, and nothing here has an effect.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

from doremi.errors import TrainingError

IMPOSSIBLE = 1000.0  # the cost of an operation that has no deterministic form
ROUNDS, STEPS, WARM_UP = 3, 5, 2
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


def cost(step: Callable[[], object], device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """Share by which steps take longer with kernels that keep an order; the least of some rounds, for each way."""
    times: dict[bool, list[float]] = {False: [], True: []}
    try:
        for turn in range(ROUNDS):
            for on in times:
                set_deterministic(on, device)
                times[on].append(_seconds(step, device, clock, WARM_UP * (turn == 0)))
    except RuntimeError as error:
        if _NONE_THERE not in str(error):
            raise
        return IMPOSSIBLE
    finally:
        set_deterministic(False, device)
    return min(times[True]) / min(times[False]) - 1


def _seconds(step: Callable[[], object], device: torch.device, clock: Callable[[], float], warm_up: int) -> float:
    for _ in range(warm_up):
        step()
    _wait(device)
    start = clock()
    for _ in range(STEPS):
        step()
    _wait(device)
    return clock() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
