"""When what is left of a run is done: its nodes on a number of places at once, the longest way to the end first.

Everything here is arithmetic over a graph and the seconds of its nodes; nothing is started.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from doremi.rundir.graph import Graph
from doremi.rundir.node import Node

Seconds = Callable[[Node], float]


@dataclass(frozen=True)
class Left:
    """Work that is not done, each piece once, and what of it waits for what."""

    nodes: Mapping[str, Node]
    needs: Mapping[str, frozenset[str]]
    """By id, those among `nodes` that must be done before."""

    @classmethod
    def of(cls, plan: Graph, wanted: Callable[[Node], bool], *, anew: bool = False) -> Left:
        """Of a graph; `anew`, as if nothing were done. A round of a search that may not be needed counts as none."""
        alike, chosen = plan.first_alike(), dict[str, Node]()
        for node in plan.nodes:
            if wanted(node) and _is_known(plan, node):
                chosen.setdefault(alike[node.id], node)  # the first that is wanted, which may not be the first of all
        nodes = {node.id: node for node in chosen.values() if anew or not plan.done(node)}
        needs = {
            name: frozenset(chosen[alike[need]].id for need in node.needs if alike[need] in chosen) & nodes.keys()
            for name, node in nodes.items()
        }
        return cls(nodes, needs)

    def ways(self, seconds: Seconds) -> dict[str, float]:
        """By id, the seconds of the longest chain that begins with it."""
        followers: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name, needs in self.needs.items():
            for need in needs:
                followers[need].append(name)
        found: dict[str, float] = {}
        for name in reversed(self._in_order()):
            found[name] = seconds(self.nodes[name]) + max((found[n] for n in followers[name]), default=0.0)
        return found

    def _in_order(self) -> list[str]:
        """Each after what it needs."""
        done: dict[str, None] = {}
        while len(done) < len(self.nodes):
            done |= dict.fromkeys(n for n in self.nodes if n not in done and self.needs[n] <= done.keys())
        return list(done)

    def makespan(self, places: int, seconds: Seconds, running: Mapping[str, float] | None = None) -> float:
        """Seconds until all is done, `places` at once. `running`: by id, the seconds that these have left."""
        running, ways = running or {}, self.ways(seconds)
        ends = [(left, name) for name, left in running.items() if name in self.nodes]
        heapq.heapify(ends)
        waiting = {name: set(self.needs[name]) for name in self.nodes if name not in running}
        now = 0.0
        while waiting or ends:
            free = sorted((n for n, needs in waiting.items() if not needs), key=lambda n: -ways[n])
            for name in free[: places - len(ends)]:
                del waiting[name]
                heapq.heappush(ends, (now + seconds(self.nodes[name]), name))
            now, ended = heapq.heappop(ends)
            for needs in waiting.values():
                needs.discard(ended)
        return now


def _is_known(plan: Graph, node: Node) -> bool:
    return not node.optional or node.spec is not None or plan.known.assumed
