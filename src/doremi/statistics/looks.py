"""How often one may look: fixed before the first verdict, or chance finds something in the end.

Looking at 3, 5, 8 and 12 seeds at 5 % each gives 10 to 13 % false wins. `planned` therefore looks at 0.35 of the level
each time, which keeps it over all four looks (docs/results/verdict.md). Everything else is shown, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Looks = Literal["once", "planned"]
PLAN = (3, 5, 8, 12)
PLANNED_SHARE = 0.35


@dataclass(frozen=True)
class Record:
    """Looks taken so far: what was planned at the first one, and the seeds of each."""

    looks: Looks
    seeds: tuple[tuple[int, ...], ...] = ()

    def with_look(self, seeds: Sequence[int]) -> Record:
        """A look at the same seeds again is no further look, nor is one at a single seed, which can prove nothing."""
        one = tuple(seeds)
        return self if one in self.seeds or len(one) < 2 else Record(self.looks, (*self.seeds, one))


@dataclass(frozen=True)
class Look:
    """`level`: one-sided, of this look; `exploratory`: why it proves nothing, or None."""

    level: float
    exploratory: str | None


def look(record: Record | None, looks: Looks, seeds: Sequence[int], level: float) -> Look:
    """What a look at `seeds` may claim, given the `record` of earlier ones (None before the first)."""
    own = level if looks == "once" else round(PLANNED_SHARE * level, 10)
    if record is None or not record.seeds:
        return Look(own, None if looks == "once" else _planned(len(seeds)))
    if record.looks != looks:
        return Look(own, f"The first verdict had verdict.looks {record.looks}, and that cannot change after it.")
    if looks == "planned":
        return Look(own, _planned(len(seeds)) or _nested(record, seeds))
    if tuple(seeds) != record.seeds[0]:
        return Look(
            own,
            f"The first verdict had {_count(len(record.seeds[0]))}. Seeds that are added after a look show more, but "
            "prove nothing. Set verdict.looks to planned before the first verdict of a run.",
        )
    return Look(own, None)


def next_look(seeds: int) -> int | None:
    """The number of seeds at which the plan looks next; None after the last."""
    return next((count for count in PLAN if count > seeds), None)


def _planned(count: int) -> str | None:
    if count in PLAN:
        return None
    return f"The plan looks at {', '.join(map(str, PLAN))} seeds, and this is a look at {_count(count)}."


def _nested(record: Record, seeds: Sequence[int]) -> str | None:
    """A look keeps the seeds of every earlier one; exchanging them would be another chance."""
    for earlier in record.seeds:
        shorter, longer = sorted((earlier, tuple(seeds)), key=len)
        if longer[: len(shorter)] != shorter:
            return "An earlier look was at other seeds. A plan adds seeds and takes none away."
    return None


def _count(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"
