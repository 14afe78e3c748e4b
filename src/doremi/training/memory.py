"""Memory of a training: what it gives back and wants again is kept, on a CPU; and the most that it had.

The C library hands each freed block of more than 32 MiB back to the system, which clears every page of the next one:
with logits of 100 MB that is a sixth of a step (docs/results/speed.md). A training asks for the same blocks each step.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... in glibc's malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Freed memory stays with this process, which then holds its peak; False where the C library has no such switch."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, _NEVER) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))


def free_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_peak(device: torch.device) -> None:
    """Count the most from here on. On a CPU it is always that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use: tensors on a GPU, everything in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
