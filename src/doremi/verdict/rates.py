"""What a sweep of peak learning rates shows: the loss at each rate, and the rate where it is lowest.

Losses are those of the half of the held-out documents that choices may look at. Rates are compared by their logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import NodeRecord, Nodes


@dataclass(frozen=True)
class Swept:
    """One size of model. `bits[i]`: mean bits a byte at `rates[i]`, None where that training did not end well."""

    size: str
    rates: tuple[float, ...]
    """Rising."""
    bits: tuple[float | None, ...]

    @property
    def lowest(self) -> int | None:
        """Place of the lowest loss."""
        done = [(value, place) for place, value in enumerate(self.bits) if value is not None]
        return min(done)[1] if done else None

    @property
    def at_an_end(self) -> bool:
        """Whether a rate that was not tried may be better: the best has no finished neighbour on one side."""
        return self.lowest is not None and self._around(self.lowest) is None

    @property
    def best(self) -> float | None:
        """The rate at the bottom of the parabola through the lowest loss and its neighbours, two digits; in between
        these, where there are both."""
        if (lowest := self.lowest) is None:
            return None
        around = self._around(lowest)
        return float(f"{self.rates[lowest] if around is None else math.exp(_bottom(*around)):.2g}")

    def _around(self, place: int) -> tuple[Sequence[float], Sequence[float]] | None:
        """Logarithms of three rates and their losses."""
        if not 0 < place < len(self.rates) - 1:
            return None
        bits = [value for value in self.bits[place - 1 : place + 2] if value is not None]
        return ([math.log(rate) for rate in self.rates[place - 1 : place + 2]], bits) if len(bits) == 3 else None


def _bottom(x: Sequence[float], y: Sequence[float]) -> float:
    """Where the parabola through three points is lowest; the middle one is no higher than the others."""
    left, right = (y[0] - y[1]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    if left + right <= 0:
        return x[1]
    return x[1] + ((x[2] - x[1]) * left - (x[1] - x[0]) * right) / (2 * (left + right))


def swept(run: RunDirectory, nodes: Nodes) -> list[Swept]:
    """Every size that `doremi tune` was asked for, in the order of its trainings."""
    found = []
    for size in dict.fromkeys(node.size for node in nodes.find("tune")):
        points = dict(sorted(_point(run, node) for node in nodes.find("tune", size=size)))
        found.append(Swept(size, tuple(points), tuple(points.values())))
    return found


def _point(run: RunDirectory, node: NodeRecord) -> tuple[float, float | None]:
    """The rate, which the id has, and the loss."""
    folder = run.training(node)
    rate = float(node.id.rpartition("/rate-")[2])
    if folder is None or not folder.finished:
        return rate, None
    return rate, float(folder.evaluation()["select"]["mean_bits_per_byte"])
