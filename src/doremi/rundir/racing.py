"""A race as a part of a run's graph: its heats as far as they are known, then the final with fresh seeds.

Every heat is one seed. When all of it is trained, the worse half drops out by the mean over the heats so far
(statistics/race.py), on the average that decides. Names that share a training are one racer, and stay or go together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from doremi.rundir.context import Context
from doremi.rundir.node import Node
from doremi.rundir.nodes import Heat, Race
from doremi.rundir.weights import candidate_name
from doremi.statistics.race import finalists, fresh_seeds, next_heat

Make = Callable[[str, int, int], Node]
"""The main model of a candidate: its name, seed and heat, 0 in the final."""


@dataclass(frozen=True)
class Raced:
    """The nodes of a race at one size, those of the final too once it is known, and what came of it so far."""

    nodes: tuple[Node, ...]
    record: Race


@dataclass(frozen=True)
class _Racers:
    """All names in order, and for each the one that stands for all with the same training."""

    stands_for: Mapping[str, str]

    @property
    def different(self) -> list[str]:
        return list(dict.fromkeys(self.stands_for.values()))

    def among(self, racers: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name, one in self.stands_for.items() if one in racers)


def race(context: Context, size: str, make: Make) -> Raced:
    """What a race at one size is, as far as its heats are trained.

    Where unfinished trainings count as done (`Known.assumed`), who stands first stays: all cost alike.
    """
    config, target = context.config, context.config.verdict.target
    reference = candidate_name(config.reference.mixture)
    racers = _Racers({name: name for name in map(candidate_name, config.candidate_mixtures())})
    nodes, heats, losses, spent = [], [], list[Mapping[str, float]](), 0
    while (heat := next_heat(losses, racers.different, reference, config.seed)) is not None:
        number = len(heats) + 1
        mine = _after(nodes, [make(name, heat.seed, number) for name in racers.among(heat.candidates)])
        nodes += mine
        names = tuple(node.mixture for node in mine)
        found = _losses(context, mine)
        if found is None:
            heats.append(Heat(seed=heat.seed, candidates=names))
            return Raced(tuple(nodes), Race(size=size, target=target, heats=tuple(heats)))
        if number == 1:
            racers = _Racers(_alike(mine, reference))
        losses.append(found)
        spent += len({racers.stands_for[name] for name in names})
        left = racers.among(finalists(losses, racers.different, reference))
        heats.append(_record(heat.seed, names, losses, left))
    left = finalists(losses, racers.different, reference)
    trainings = len(racers.different) * config.candidates.seeds - spent
    seeds = fresh_seeds(config.seed, len(losses), len(left), trainings)
    nodes += _after(nodes, [make(name, seed, 0) for seed in seeds for name in racers.among(left)])
    over = Race(size=size, target=target, heats=tuple(heats), finalists=racers.among(left), seeds=seeds)
    return Raced(tuple(nodes), over)


def _after(earlier: Sequence[Node], nodes: Sequence[Node]) -> list[Node]:
    """The nodes, once those of all heats before are done."""
    return [replace(node, needs=(*node.needs, *(one.id for one in earlier))) for node in nodes]


def _losses(context: Context, nodes: Sequence[Node]) -> dict[str, float] | None:
    """By candidate, on the average that decides; None while one of them is not trained."""
    bits = {node.mixture: None if node.spec is None else context.known.bits.get(node.spec.key) for node in nodes}
    weights = context.target_weights()
    known = {name: one for name, one in bits.items() if one is not None}
    if weights is None or len(known) < len(bits):
        return dict.fromkeys(bits, 0.0) if context.known.assumed else None
    return {name: sum(b * w for b, w in zip(one, weights, strict=True)) for name, one in known.items()}


def _alike(nodes: Sequence[Node], reference: str) -> dict[str, str]:
    """For each name the first with the same training, the reference mixture before others."""
    first: dict[str, str] = {}
    for node in sorted(nodes, key=lambda node: node.mixture != reference):
        first.setdefault(_training(node), node.mixture)
    return {node.mixture: first[_training(node)] for node in nodes}


def _training(node: Node) -> str:
    return node.id if node.spec is None else node.spec.key


def _record(seed: int, names: Sequence[str], losses: Sequence[Mapping[str, float]], left: Sequence[str]) -> Heat:
    means = {name: float(f"{sum(heat[name] for heat in losses) / len(losses):.10g}") for name in names}
    dropped = tuple(name for name in names if name not in left)
    return Heat(seed=seed, candidates=tuple(names), means=means, dropped=dropped)
