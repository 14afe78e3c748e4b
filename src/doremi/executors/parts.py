"""Which jobs of a run can be handed to a scheduler at once, and in which order they go.

A part is all that is known of a run now: what is ready, and what will be ready when that is done. Later rounds,
trainings whose length follows from the search, and evaluations on more text are not known yet. They are in a later
part, and so is the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from doremi.rundir.graph import Graph
from doremi.rundir.known import PREPARE
from doremi.rundir.node import Node
from doremi.rundir.nodes import Kind, Role

LARGEST = 1000
"""Jobs of one array: a Slurm that nobody has set up otherwise takes no more (its MaxArraySize is 1001)."""


@dataclass(frozen=True)
class Group:
    """Jobs that are alike and can run side by side."""

    wave: int
    """1 is what nothing comes before."""
    role: Role
    size: str
    """Of main models; empty for the others."""
    kind: Kind
    jobs: tuple[str, ...]
    """Ids of nodes."""
    after: tuple[str, ...] = ()
    """Names of the groups of this part that have to be done first."""
    piece: int = 1
    """Which one of several, where there are more jobs than an array holds."""

    @property
    def name(self) -> str:
        """Of its files: letters, digits, dots and hyphens."""
        piece = [f"piece-{self.piece}"] if self.piece > 1 else []
        return "-".join([str(self.wave), self.role, *([self.size] if self.size else []), *piece])


def first_part() -> tuple[Group, ...]:
    """The corpus alone: until it is there, nothing else of a run has a key."""
    return (Group(1, "prepare", "", "prepare", (PREPARE,)),)


def _preparing(plan: Graph) -> list[Node]:
    """The shards of a large corpus and what puts them together, once it is known which they are."""
    return [node for node in plan.nodes if node.kind in ("shard", "corpus")]


def is_begun(plan: Graph) -> bool:
    """Whether the first job is over: the shards are known, or the corpus is there."""
    return bool(_preparing(plan)) or is_prepared(plan)


def is_prepared(plan: Graph) -> bool:
    """Whether the corpus is there and has been looked at, so that trainings have keys."""
    return plan.done(plan.node(PREPARE)) and any(node.spec is not None for node in plan.nodes if node.role != "own")


def next_part(plan: Graph) -> tuple[Group, ...]:
    """Everything that is not done and is known, by wave; what several nodes would do alike is in it once."""
    shards = _preparing(plan)
    if not shards and not is_prepared(plan):
        return first_part()
    waves: dict[str, int] = {}
    members: dict[tuple[int, Role, str], list[Node]] = {}
    for node in shards or plan.work():
        wave = None if plan.done(node) else _wave(plan, node, waves)
        if wave is not None:
            waves[node.id] = wave
            members.setdefault((wave, node.role, node.size), []).append(node)
    groups: list[Group] = []
    for key in sorted(members, key=lambda key: key[0]):
        groups += [*_groups(plan, key, members[key], tuple(groups))]
    return tuple(groups)


def _wave(plan: Graph, node: Node, waves: dict[str, int]) -> int | None:
    """One later than what the node needs; None where it cannot be in this part."""
    if any(need.kind == "validation" for need in _needs(plan, node)):
        return None  # what models are still to be evaluated on is known when that is done
    before = [waves.get(need.id) for need in _needs(plan, node)]
    known = [wave for wave in before if wave is not None]
    if len(known) < len(before) or not (node.complete or (known and _follows(node))):
        return None
    return 1 + max(known, default=0)


def _needs(plan: Graph, node: Node) -> list[Node]:
    """What has to be done first and is not done, under the ids that do it."""
    needs = [plan.node(name) for name in plan.unfinished(node)]
    return [plan.twin(need) or need for need in needs]


def _follows(node: Node) -> bool:
    """Whether a node without a spec has one as soon as its needs are done, whatever they find."""
    return not node.optional and node.role not in ("longer", "verdict")


def _groups(plan: Graph, key: tuple[int, Role, str], nodes: list[Node], earlier: tuple[Group, ...]) -> Iterator[Group]:
    """One, or as many as hold all of them."""
    wave, role, size = key
    for piece, first in enumerate(range(0, len(nodes), LARGEST), 1):
        some = nodes[first : first + LARGEST]
        needs = {need.id for node in some for need in _needs(plan, node)}
        after = tuple(group.name for group in earlier if needs & set(group.jobs))
        yield Group(wave, role, size, some[0].kind, tuple(node.id for node in some), after, piece)
