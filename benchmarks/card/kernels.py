"""What a profiler saw on a card: kernels, how long the card was at work, what the host launched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
COPIES = ("Memcpy", "Memset")


@dataclass(frozen=True)
class Seen:
    """Of some steps together; times are microseconds."""

    busy: float
    """While at least one kernel or copy was at work."""
    kernels: int
    copies: int
    launches: int
    """Calls of the host that start work on the card; a CUDA graph is one."""
    longest: tuple[tuple[str, float, int], ...]
    """Name, time and number of the kernels that took longest."""


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans (begin, end)."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def seen(events: Sequence[Any]) -> Seen:
    """From the events of `torch.profiler`; regions that were only named are no work of the card."""
    on_card = [e for e in events if e.device_type.name == "CUDA" and not e.is_user_annotation]
    copies = [e for e in on_card if e.name.startswith(COPIES)]
    kernels = [e for e in on_card if not e.name.startswith(COPIES)]
    time, number = Counter[str](), Counter[str]()
    for event in kernels:
        time[event.name] += event.time_range.end - event.time_range.start
        number[event.name] += 1
    return Seen(
        busy=covered((e.time_range.start, e.time_range.end) for e in on_card),
        kernels=len(kernels),
        copies=len(copies),
        launches=sum(e.name.startswith(LAUNCHES) for e in events if e.device_type.name == "CPU"),
        longest=tuple((name, spent, number[name]) for name, spent in time.most_common(12)),
    )
