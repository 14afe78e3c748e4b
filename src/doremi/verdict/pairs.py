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
from typing import TypeVar

import numpy as np

from doremi.errors import RunError
from doremi.rundir.nodes import CandidateRole
from doremi.verdict.bootstrap import Sample
from doremi.verdict.candidates import Candidate
from doremi.verdict.compare import FLIPPED, Contrasts, Result, contrast, results, together
from doremi.verdict.values import Family

ROLES: tuple[CandidateRole, ...] = ("found", "per-seed", "plain")
Key = TypeVar("Key", bound=str)  # of what is averaged over: targets, or tasks
Question = Callable[[tuple[int, int]], Family]


def all_together(pair: tuple[int, int]) -> Family:
    """One family for all pairs."""
    return "all"


@dataclass(frozen=True)
class Roles:
    """Positions among the candidates. `reference` is None where that mixture was not trained as a candidate.

    `found` are mixtures that a search has found. `per_seed` are those whose seeds each have a mixture of their own:
    they tell how good the search is, but there is no mixture to recommend.
    """

    baseline: int
    reference: int | None
    best_plain: int
    found: tuple[int, ...]
    per_seed: tuple[int, ...] = ()

    def rank(self, index: int) -> int:
        """The lower of two is the opponent: natural, then the reference mixture, then the best plain one."""
        opponents = (self.baseline, self.reference, self.best_plain)
        if index in opponents:
            return opponents.index(index)
        return len(opponents) + (index in self.found) + 2 * (index in self.per_seed)

    def question(self, pair: tuple[int, int]) -> Family:
        """What a pair is compared for: the family that it is corrected with."""
        if any(index in self.per_seed for index in pair):
            return "method"
        return "learned" if any(index in self.found for index in pair) else "plain"


def assign_roles(candidates: Sequence[Candidate], means_C: np.ndarray) -> Roles:
    """`means_C`: each candidate's target on the `select` split, by which the best plain mixture is chosen.

    Where natural is not among the candidates, the reference mixture stands in as baseline; `RunError` if neither is.
    """
    natural = next((i for i, one in enumerate(candidates) if one.name == "natural"), None)
    reference = next((i for i, one in enumerate(candidates) if one.is_reference), None)
    baseline = reference if natural is None else natural
    if baseline is None:
        raise RunError(
            f"neither 'natural' nor the reference mixture is among the candidates "
            f"({', '.join(one.name for one in candidates)}), so there is no baseline. Add one under candidates.mixtures"
        )
    by_role = {role: tuple(i for i, one in enumerate(candidates) if one.role == role) for role in ROLES}
    return Roles(
        baseline=baseline,
        reference=reference,
        best_plain=min(by_role["plain"], key=lambda i: means_C[i]),
        found=by_role["found"],
        per_seed=by_role["per-seed"],
    )


@dataclass(frozen=True)
class Pair:
    """`index` is the position of this comparison in its family."""

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
    targets: Mapping[Key, np.ndarray],
    confidence: float,
    margin: float,
    question: Question = all_together,
) -> dict[Key, list[Pair]]:
    """All pairs on all targets, those of one question corrected together; by target, in the order of `pairs`."""
    weights_TK = np.stack(list(targets.values()))
    by_pair: dict[tuple[int, int], list[Pair]] = {}
    for asked in dict.fromkeys(map(question, pairs)):
        same = [pair for pair in pairs if question(pair) == asked]
        family = together([contrast(sample, a, b, weights_TK) for a, b in same])
        outcomes = results(family, confidence, margin)
        compared = [Pair(*same[i // len(targets)], outcome, family, i) for i, outcome in enumerate(outcomes)]
        by_pair |= {pair: compared[i * len(targets) : (i + 1) * len(targets)] for i, pair in enumerate(same)}
    return {target: [by_pair[pair][t] for pair in pairs] for t, target in enumerate(targets)}


def compare_domains(sample: Sample, pair: tuple[int, int], confidence: float, margin: float) -> list[Result]:
    """One pair domain by domain, corrected over the domains."""
    return results(contrast(sample, *pair, np.eye(sample.bits.shape[-1])), confidence, margin)


def seen_from(pairs: Sequence[Pair], me: int, other: int) -> Pair:
    """The pair of `me` and `other` with `me` as the candidate, turned round if need be."""
    held = next(pair for pair in pairs if {pair.candidate, pair.opponent} == {me, other})
    if held.candidate == me:
        return held
    turned = held.result
    result = replace(
        turned,
        difference=-turned.difference,
        opponent=turned.opponent + turned.difference,
        outcome=FLIPPED[turned.outcome],
    )
    return replace(held, candidate=me, opponent=other, result=result)
