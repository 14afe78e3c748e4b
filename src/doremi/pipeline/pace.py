"""How long a run still takes: from the operations of its nodes, and from what such nodes have taken so far.

A training that runs says by its steps how fast it is. One that is alike (of the same size and kind) is as fast; any
other takes time by its operations. Before anything has run there is no answer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from doremi.events.event import Event, Stepped
from doremi.rundir.graph import Graph
from doremi.rundir.node import Node
from doremi.rundir.schedule import Left
from doremi.rundir.specs import TrainingSpec

Likeness = tuple[str, str, bool]
FEWEST_STEPS = 3  # of a training before its speed counts: its first step compiles and warms up


@dataclass
class _Running:
    """A node that runs now."""

    node: Node
    began: float
    step: int = 0
    steps: int = 0
    first: tuple[int, float] | None = None
    """The step of the first report, and when it came: a resumed training begins in the middle."""

    def whole(self, now: float) -> float | None:
        """Seconds that all of its steps take at the pace so far; None before a few."""
        if self.first is None or self.step - self.first[0] < FEWEST_STEPS:
            return None
        step, at = self.first
        start = at - self.began if step == 1 else 0.0  # who goes on in the middle has restored a checkpoint as well
        return start + (now - at) / (self.step - step) * (self.steps - (step == 1))

    def left(self, now: float, whole: float) -> float:
        done = self.step / self.steps if self.steps else min(0.9, (now - self.began) / whole if whole else 0.0)
        return max(0.0, (1 - done) * whole)


@dataclass
class Pace:
    """Follows the events of a run."""

    clock: Callable[[], float] = time.monotonic
    running: dict[str, _Running] = field(default_factory=dict)
    taken: dict[Likeness, list[float]] = field(default_factory=dict)
    """Seconds of finished nodes that began from nothing, by what is alike."""
    rates: list[float] = field(default_factory=list)
    """Operations a second of the same."""

    def start(self, node: Node) -> None:
        """A node begins."""
        self.running[node.id] = _Running(node, self.clock())

    def end(self, node: Node, *, done: bool) -> None:
        """It has ended."""
        one = self.running.pop(node.id)
        if done and (one.first is None or one.first[0] == 1):
            self._note(node, self.clock() - one.began)

    def _note(self, node: Node, seconds: float) -> None:
        self.taken.setdefault(_likeness(node), []).append(seconds)
        if node.cost and node.cost.operations and seconds > 0:
            self.rates.append(node.cost.operations / seconds)

    def hear(self, event: Event) -> None:
        """A training tells of a step."""
        if isinstance(event, Stepped) and (one := self.running.get(event.job)):
            one.step, one.steps = event.step, event.steps
            one.first = one.first or (event.step, self.clock())

    def seconds_left(self, plan: Graph, wanted: Callable[[Node], bool], places: int) -> float | None:
        """Until all that is wanted is done; None while nothing is known of its speed."""
        now = self.clock()
        wholes = {name: one.whole(now) for name, one in self.running.items()}
        paces = [
            one.node.cost.operations / whole
            for name, one in self.running.items()
            if (whole := wholes[name]) and one.node.cost and one.node.cost.operations
        ]
        rates = self.rates or paces
        if not rates:
            return None
        rate, alike = statistics.median(rates), dict(self.taken)
        for name, one in self.running.items():
            whole = wholes[name]
            if whole is not None:
                alike.setdefault(_likeness(one.node), [whole])

        def seconds(node: Node) -> float:
            if (known := alike.get(_likeness(node))) is not None:
                return statistics.median(known)
            return (node.cost.operations or 0) / rate if node.cost else 0.0

        left = {name: one.left(now, wholes[name] or seconds(one.node)) for name, one in self.running.items()}
        return Left.of(plan, wanted).makespan(places, seconds, left)


def _likeness(node: Node) -> Likeness:
    """What decides on how long a node takes, as far as nodes of one run differ."""
    spec = node.spec or node.draft
    if not isinstance(spec, TrainingSpec):
        return node.kind, node.size, False
    return node.kind, f"{spec.model} {spec.settings.steps}", spec.scoring is not None
