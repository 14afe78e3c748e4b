"""What a setting reaches: which results are others with another value of it. Said at each field of the schema.

A section says it for all its fields (`reaches`), and a field that differs for itself (`Annotated[int, Reaches()]`).
Keys are made of what they depend on and do not look here; tests/test_reach.py compares the two over every field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reached = Literal["corpus", "reference", "losses", "proxy", "mixture", "main", "longer", "fewshot", "verdict"]
TRAININGS: tuple[Reached, ...] = ("reference", "losses", "proxy", "mixture", "main", "longer", "fewshot")


@dataclass(frozen=True, init=False)
class Reaches:
    """The results that are others: a new one is made beside the old. `corpus` means all that is made of it, too.

    What a setting only adds to a run, as seeds or candidates, leaves those that are there as they are.
    """

    kinds: frozenset[Reached]

    def __init__(self, *kinds: Reached) -> None:
        object.__setattr__(self, "kinds", frozenset(kinds))
