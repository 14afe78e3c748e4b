"""What is judged: finished trainings as typed measurements, whoever made them and wherever they lie.

Shapes: C candidates, S seeds, K domains, D documents of one domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from doremi.errors import RunError
from doremi.statistics.document_noise import DocumentNoise, document_noise, domain_documents

Role = Literal["found", "plain", "per-seed"]
Target = Literal["uniform", "natural"]
TARGETS: tuple[Target, ...] = ("uniform", "natural")


@dataclass(frozen=True)
class Entrant:
    """One candidate. `method` names who found it; `weights` `[K]`, means over seeds.

    `per-seed`: every seed has a mixture of its own, so that it tells of the method and cannot be used. `allowed`:
    within the limits, so that it may be recommended. `lent`: seeds whose training also served a search, as the
    reference model that found mixtures were learned against.
    """

    name: str
    role: Role
    weights: tuple[float, ...]
    method: str = ""
    is_reference: bool = False
    allowed: bool = True
    lent: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class DomainLosses:
    """One domain: its natural share, bytes of each document `[D]`, and the documents' nats `[C, S, D]`."""

    name: str
    natural: float
    bytes_D: np.ndarray
    nats_CSD: np.ndarray

    def bits_CS(self) -> np.ndarray:
        return self.nats_CSD.sum(axis=2) / (self.bytes_D.sum() * math.log(2))


@dataclass(frozen=True, eq=False)
class Measurements:
    """A whole table. Seeds that chose who is compared are not in it: they judge nobody."""

    entrants: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    domains: tuple[DomainLosses, ...]
    half_CSK: np.ndarray | None = None
    """Bits per byte `[C, S, K]` half way through the trainings, where all were evaluated there."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.entrants)

    def reference(self) -> int:
        """Place of the reference mixture; `RunError` where it was not trained as a candidate."""
        for place, one in enumerate(self.entrants):
            if one.is_reference:
                return place
        raise RunError(
            f"the reference mixture is not among the candidates ({', '.join(self.names)}), so there is no baseline; "
            "add it under candidates.mixtures"
        )

    def bits(self) -> np.ndarray:
        """Bits per byte `[C, S, K]`."""
        return np.stack([one.bits_CS() for one in self.domains], axis=-1)

    def documents(self) -> DocumentNoise:
        return document_noise([domain_documents(one.nats_CSD.mean(axis=1), one.bytes_D) for one in self.domains])

    def weights_of(self, target: Target) -> np.ndarray:
        """What domains weigh in an average, `[K]`."""
        if target == "uniform":
            return np.full(len(self.domains), 1 / len(self.domains))
        natural = np.array([one.natural for one in self.domains])
        return natural / natural.sum()

    def only(self, places: Sequence[int], seeds: Sequence[int]) -> Measurements:
        """Some of the candidates and of the seeds, in this order."""
        rows, columns = list(places), [self.seeds.index(seed) for seed in seeds]
        domains = tuple(replace(one, nats_CSD=one.nats_CSD[np.ix_(rows, columns)]) for one in self.domains)
        entrants = tuple(self.entrants[place] for place in rows)
        half = None if self.half_CSK is None else self.half_CSK[np.ix_(rows, columns)]
        return replace(self, entrants=entrants, seeds=tuple(seeds), domains=domains, half_CSK=half)


def originals(table: Measurements) -> tuple[int, ...]:
    """For each candidate the one that stands for all with the same losses: itself, or who shares its trainings.

    Two names of one mixture are one candidate. Counted twice they would halve the noise that is seen. The reference
    mixture stands for others, and a mixture for a method; else who is first does.
    """
    bits_CSK = table.bits()
    order = sorted(range(len(bits_CSK)), key=lambda i: _standing(table.entrants[i]))
    return tuple(next(i for i in order if np.array_equal(bits_CSK[i], bits)) for bits in bits_CSK)


def _standing(one: Entrant) -> tuple[bool, bool]:
    return not one.is_reference, one.role == "per-seed"
