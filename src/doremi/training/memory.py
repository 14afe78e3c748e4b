"""Memory that a training gives back and wants again: kept, on a CPU.

The C library hands each freed block of more than 32 MiB back to the system, which clears every page of the next one:
with logits of 100 MB that is a sixth of a step (docs/results/speed.md). A training asks for the same blocks each step.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_... in glibc's malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Freed memory stays with this process, which then holds its peak; False where the C library has no such switch."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, _NEVER) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
