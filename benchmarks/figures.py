"""Shared by the benchmarks: a JSON line a figure, and medians of interleaved runs."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping


def figure(name: str, value: float, unit: str, *, digits: int = 5, **more: float | str) -> None:
    """Print one figure as a JSON line, with `digits` behind the point."""
    print(json.dumps({"figure": name, "value": round(value, digits), "unit": unit, **more}), flush=True)


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each way, taken in turn so that a drift of the machine hits all alike."""
    for way in ways.values():
        for _ in range(warm_up):
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], one: str, other: str) -> tuple[float, float, float]:
    """(median, lowest, highest) of the ratio `one` / `other`, pair by pair."""
    ratios = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)
