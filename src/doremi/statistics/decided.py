"""Which claims are still open, so that more seeds could prove them.

A claim is decided where it held. It is decided too where the interval says that no seeds will ever prove it: the
candidate is surely worse than one of those it should beat, or surely no further from it than the margin. The second
claim of a mixture comes up only once its first one held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from doremi.statistics.table import Target
from doremi.statistics.values import Claim, Comparison

State = Literal["held", "worse", "small", "open"]


@dataclass(frozen=True)
class Standing:
    """What is known of one claim. `against`: all of whom it speaks, or those who stand in its way."""

    claim: Claim
    state: State
    against: tuple[str, ...]


def standings(claims: Sequence[Claim], comparisons: Sequence[Comparison], target: Target) -> tuple[Standing, ...]:
    """Of each found mixture the claims that held, and the first that did not, by the comparisons on `target`."""
    sequences: dict[str, list[Claim]] = {}
    for one in claims:
        sequences.setdefault(one.candidate, []).append(one)
    made = []
    for sequence in sequences.values():
        reached = 1 + next((place for place, one in enumerate(sequence) if not one.held), len(sequence) - 1)
        made += [_standing(one, [c for c in comparisons if c.target == target]) for one in sequence[:reached]]
    return tuple(made)


def _standing(claim: Claim, comparisons: Sequence[Comparison]) -> Standing:
    if claim.held:
        return Standing(claim, "held", claim.over)
    rows = [one for one in comparisons if one.candidate == claim.candidate and one.opponent in claim.over]
    worse = tuple(one.opponent for one in rows if one.outcome == "loss")
    small = tuple(one.opponent for one in rows if one.small)
    if worse:
        return Standing(claim, "worse", worse)
    return Standing(claim, "small", small) if small else Standing(claim, "open", claim.over)
