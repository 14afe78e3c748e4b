"""Racing: one seed each, the worse half drops out, and what is left of the trainings is spent on fewer.

The reference mixture is never dropped, as every claim starts with it. A race chooses who is compared, so that its own
seeds judge nobody afterwards: the final comparison has fresh ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OTHERS_LEFT = 2  # as many others as stay beside the reference mixture in the end


@dataclass(frozen=True)
class Heat:
    """One round: who trains one more seed, and which."""

    candidates: tuple[str, ...]
    seed: int


def survivors(means: Mapping[str, float], reference: str) -> tuple[str, ...]:
    """The better half by the mean over the race's seeds, in the order of `means`, and the reference mixture with it.

    Half is rounded up, and at least `OTHERS_LEFT` stay. Equal means: who stands first.
    """
    others = [name for name in means if name != reference]
    keep = max(OTHERS_LEFT, (len(others) + 1) // 2)
    best = set(sorted(others, key=lambda name: means[name])[:keep])
    return tuple(name for name in means if name in best or name == reference)


def next_heat(
    losses: Sequence[Mapping[str, float]], candidates: Sequence[str], reference: str, first_seed: int
) -> Heat | None:
    """What to train next, given the losses of the heats so far, by candidate; None when the race is over.

    The first heat has everyone. Who is in a later one is decided by the mean over all heats so far.
    """
    alive = finalists(losses, candidates, reference)
    racing = sum(name != reference for name in alive) > OTHERS_LEFT
    return Heat(alive, first_seed + len(losses)) if racing else None


def finalists(losses: Sequence[Mapping[str, float]], candidates: Sequence[str], reference: str) -> tuple[str, ...]:
    """Who is left after the heats so far."""
    alive = tuple(candidates)
    for number in range(1, len(losses) + 1):
        means = {name: sum(heat[name] for heat in losses[:number]) / number for name in alive}
        alive = survivors(means, reference)
    return alive


def fresh_seeds(first_seed: int, heats: int, finalists: int, trainings: int) -> tuple[int, ...]:
    """Seeds of the final comparison: those after the race's, as many as `trainings` pay for."""
    return tuple(first_seed + heats + i for i in range(trainings // finalists))
