"""What may be used here for trainings: cores, memory and GPUs."""

from __future__ import annotations

import os

from doremi.lent import available_cores, available_memory
from doremi.rundir.machine import Host


def this_host() -> Host:
    """What this process may use."""
    return Host(available_cores(), available_memory(), visible_devices(), device_memory=_device_memory())


def visible_devices() -> tuple[str, ...]:
    """GPUs by the names under which a process can be given one of them."""
    import torch  # takes a second, and cores are asked for before it is loaded

    number = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return tuple(named[:number]) if named else tuple(str(i) for i in range(number))


def _device_memory() -> int | None:
    import torch

    each = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return min(each, default=None)
