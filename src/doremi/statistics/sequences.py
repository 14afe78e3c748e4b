"""What is claimed to be proved: a fixed sequence for each found mixture, one-sided, at a level that all share.

First: it is better than the reference mixture. Only if that holds: it is better than every plain mixture. The second
needs each of its comparisons at the level, and no correction: it is false already if one of them is (intersection and
union), and choosing the strongest opponent cannot inflate it. Testing in a fixed order costs nothing either.

Several methods share the level equally. What a method used passes on only when its whole sequence held, as in Holm's
correction (Bretz and others 2009, A graphical approach to sequentially rejective multiple test procedures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Steps:
    """One found mixture: the p-values of both claims, and whose it is."""

    method: str
    first: float
    second: float


@dataclass(frozen=True)
class Tested:
    """`level`: what the sequence was tested at in the end; 0 where nothing was left for it."""

    level: float
    first: bool
    second: bool


def hold_sequences(sequences: Sequence[Steps], level: float) -> list[Tested]:
    """Which claims hold, with a chance of at most `level` that any of them is false."""
    shares = _equal_shares(sequences, level)
    done: set[int] = set()
    while ready := [i for i in range(len(sequences)) if i not in done and _whole(sequences[i], shares[i])]:
        done.add(ready[0])
        for heir, part in _heirs(sequences, ready[0], done).items():
            shares[heir] += shares[ready[0]] * part
    return [
        Tested(share, one.first <= share, one.first <= share and one.second <= share)
        for one, share in zip(sequences, shares, strict=True)
    ]


def _equal_shares(sequences: Sequence[Steps], level: float) -> list[float]:
    methods = [one.method for one in sequences]
    return [level / len(set(methods)) / methods.count(method) for method in methods]


def _whole(one: Steps, share: float) -> bool:
    return max(one.first, one.second) <= share


def _heirs(sequences: Sequence[Steps], giver: int, done: set[int]) -> dict[int, float]:
    """Who gets the level of `giver`: the rest of its method, else the other methods alike."""
    left = [i for i in range(len(sequences)) if i not in done]
    same = [i for i in left if sequences[i].method == sequences[giver].method]
    heirs = same or left
    methods = [sequences[i].method for i in heirs]
    return {i: 1 / len(set(methods)) / methods.count(method) for i, method in zip(heirs, methods, strict=True)}
