"""Between this machine's memory and a device: copies for which a GPU's host does not wait."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A tensor of the array on the device, for which a GPU's host does not wait (and which shares a CPU's memory)."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":  # in one piece first: what is not is copied by way of unpinned memory
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_host(tensor: Tensor) -> Callable[[], np.ndarray]:
    """Ask for a tensor's values: what is returned waits for them, and for nothing that the device is given later."""
    if tensor.device.type != "cuda":
        return tensor.numpy
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def values() -> np.ndarray:
        arrived.synchronize()
        return copy.numpy()

    return values
