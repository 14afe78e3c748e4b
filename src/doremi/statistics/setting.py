"""What every part of the verdict starts from: who is compared, the noise, and all differences on both averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from doremi.statistics.compared import Compared, compare
from doremi.statistics.document_noise import DocumentNoise
from doremi.statistics.table import TARGETS, Entrant, Measurements, Target, originals


@dataclass(frozen=True)
class Terms:
    """How to judge. `level`: of claims one-sided, of intervals two-sided. `margin` is relative.

    `exploratory`: why this look may claim nothing, or None. `dropped`: who lost a race before, on other seeds.
    """

    target: Target = "uniform"
    level: float = 0.05
    margin: float = 0.005
    exploratory: str | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Setting:
    """`fixed` are the candidates with one mixture each and trainings of their own; the rest are only described.

    `whole` has everyone. Places count among `fixed`.
    """

    whole: Measurements
    fixed: Measurements
    terms: Terms
    bits: np.ndarray
    documents: DocumentNoise
    compared: dict[Target, Compared]
    reference: int

    @classmethod
    def of(cls, whole: Measurements, terms: Terms) -> Setting:
        first = originals(whole)
        keep = [i for i, one in enumerate(whole.entrants) if first[i] == i and one.role != "per-seed"]
        fixed = whole.only(keep, whole.seeds)
        bits, documents = fixed.bits(), fixed.documents()
        hubs = np.array([one.role == "found" for one in fixed.entrants])
        compared: dict[Target, Compared] = {t: compare(bits, documents, fixed.weights_of(t), hubs) for t in TARGETS}
        return cls(whole, fixed, terms, bits, documents, compared, keep.index(whole.reference()))

    @property
    def entrants(self) -> tuple[Entrant, ...]:
        return self.fixed.entrants

    @property
    def names(self) -> tuple[str, ...]:
        return self.fixed.names

    def found(self) -> tuple[int, ...]:
        """Found mixtures that are not the reference mixture themselves."""
        return tuple(i for i, one in enumerate(self.entrants) if one.role == "found" and i != self.reference)

    def plain(self) -> tuple[int, ...]:
        return tuple(i for i, one in enumerate(self.entrants) if i not in self.found())

    def same(self) -> tuple[tuple[str, str], ...]:
        """Names that share all trainings with an earlier one, and with which."""
        names = self.whole.names
        return tuple((names[i], names[j]) for i, j in enumerate(originals(self.whole)) if i != j)

    def relative(self, target: Target, opponent: int) -> float:
        """The level that differences to `opponent` are relative to, in bits per byte."""
        return float(self.compared[target].means[opponent])
