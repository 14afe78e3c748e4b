"""Who stands against whom, and the results of all pairs on one split.

Every pair is compared, not only those with an opponent: which plain mixture is the best is read off the same runs,
and a correction that counted only the pairs chosen afterwards would be too small. But each question is a family of its
own: whether the found mixture beats plain ones, whether the method does, and which plain mixture beats which. Who asks
the first must not pay for the third.

Shapes: C candidates, K domains, T targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from doremi.errors import RunError
from doremi.mixture.names import LEARNED, PER_SEED
from doremi.verdict.bootstrap import Sample
from doremi.verdict.compare import FLIPPED, Contrasts, Result, contrast, results, together


@dataclass(frozen=True)
class Roles:
    """Positions among the candidates. `reference` is None where that mixture was not trained as a candidate.

    `method` are those whose seeds each have a mixture of their own: they tell how good the search is, but there is no
    mixture to recommend.
    """

    baseline: int
    reference: int | None
    best_plain: int
    learned: tuple[int, ...]
    method: tuple[int, ...] = ()

    def rank(self, index: int) -> int:
        """The lower of two is the opponent: natural, then the reference mixture, then the best plain one."""
        opponents = (self.baseline, self.reference, self.best_plain)
        if index in opponents:
            return opponents.index(index)
        return len(opponents) + (index in self.learned) + 2 * (index in self.method)

    def question(self, pair: tuple[int, int]) -> str:
        """What a pair is compared for: the family that it is corrected with."""
        if any(index in self.method for index in pair):
            return "method"
        return "learned" if any(index in self.learned for index in pair) else "plain"


def assign_roles(names: Sequence[str], reference: str, means_C: np.ndarray) -> Roles:
    """`means_C`: each candidate's target on the `select` split, by which the best plain mixture is chosen.

    Where natural is not among `names`, the reference mixture stands in as baseline; `RunError` if neither is.
    """
    baseline = next((name for name in ("natural", reference) if name in names), None)
    if baseline is None:
        raise RunError(
            f"neither 'natural' nor the reference mixture {reference!r} is among the candidates "
            f"({', '.join(names)}), so there is no baseline. Add one under candidates.mixtures"
        )
    learned = tuple(i for i, name in enumerate(names) if name == LEARNED)
    method = tuple(i for i, name in enumerate(names) if name == PER_SEED)
    plain = [i for i in range(len(names)) if i not in (*learned, *method)]
    return Roles(
        baseline=names.index(baseline),
        reference=names.index(reference) if reference in names else None,
        best_plain=min(plain, key=lambda i: means_C[i]),
        learned=learned,
        method=method,
    )


@dataclass(frozen=True)
class Pair:
    """`index` is the position of this comparison in the family it was judged with."""

    candidate: int
    opponent: int
    result: Result
    family: Contrasts
    index: int


def ordered_pairs(count: int, roles: Roles) -> list[tuple[int, int]]:
    """All pairs (candidate, opponent) of `count` candidates."""
    return [(b, a) if roles.rank(a) <= roles.rank(b) else (a, b) for a, b in combinations(range(count), 2)]


def compare_overall(
    sample: Sample,
    pairs: Sequence[tuple[int, int]],
    targets: Mapping[str, np.ndarray],
    confidence: float,
    margin: float,
    question: Callable[[tuple[int, int]], str] = lambda pair: "all",
) -> dict[str, list[Pair]]:
    """All pairs on all targets, those of one question corrected together; by target, in the order of `pairs`."""
    weights_TK = np.stack(list(targets.values()))
    found: dict[tuple[int, int], list[Pair]] = {}
    for asked in dict.fromkeys(map(question, pairs)):
        same = [pair for pair in pairs if question(pair) == asked]
        family = together([contrast(sample, a, b, weights_TK) for a, b in same])
        outcomes = results(family, confidence, margin)
        judged = [Pair(*same[i // len(targets)], outcome, family, i) for i, outcome in enumerate(outcomes)]
        found |= {pair: judged[i * len(targets) : (i + 1) * len(targets)] for i, pair in enumerate(same)}
    return {target: [found[pair][t] for pair in pairs] for t, target in enumerate(targets)}


def compare_domains(sample: Sample, pair: tuple[int, int], confidence: float, margin: float) -> list[Result]:
    """One pair domain by domain, corrected over the domains."""
    return results(contrast(sample, *pair, np.eye(sample.bits.shape[-1])), confidence, margin)


def seen_from(pairs: Sequence[Pair], me: int, other: int) -> Pair:
    """The pair of `me` and `other` with `me` as the candidate, turned round if need be."""
    found = next(pair for pair in pairs if {pair.candidate, pair.opponent} == {me, other})
    if found.candidate == me:
        return found
    turned = found.result
    result = replace(
        turned,
        difference=-turned.difference,
        opponent=turned.opponent + turned.difference,
        outcome=FLIPPED[turned.outcome],
    )
    return replace(found, candidate=me, opponent=other, result=result)
