"""What a search method is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.mixture.domains import Mixture
from doremi.mixture.record import MixtureRecord, Round
from doremi.rundir.context import Context
from doremi.rundir.graph import Declared
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.specs import MixtureSpec

PLACES = 12  # of a found weight: its last digits make no other mixture, and no other training


class SearchMethod(Protocol):
    """One way to find a mixture."""

    @property
    def name(self) -> str:
        """What its nodes carry."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The mixtures that it can make, as `candidates.mixtures` names them."""
        ...

    def check(self, config: RunConfig) -> None:
        """`ConfigError` for what a configuration asks of it in vain."""
        ...

    def declare(self, context: Context) -> Declared:
        """Its trainings and mixtures, as far as they are known now."""
        ...

    def mixture(self, spec: MixtureSpec, results: Results) -> MixtureRecord:
        """The mixture that one of its nodes makes, before limits."""
        ...

    def history(self, context: Context) -> tuple[Round, ...]:
        """What came of each round of its search so far; none where it does not repeat itself."""
        ...

    def remark(self, context: Context) -> str | None:
        """One line of warning about its search so far."""
        ...


@dataclass(frozen=True)
class Results:
    """What a mixture is made of: the finished trainings by what the spec calls them."""

    corpus: Corpus
    trainings: Mapping[str, TrainingFolder]


def rounded(mixture: Mixture) -> Mixture:
    """Weights of `PLACES` places."""
    return Mixture({name: round(weight, PLACES) for name, weight in mixture.weights.items()})
