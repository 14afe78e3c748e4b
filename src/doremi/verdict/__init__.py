"""The verdict: finished candidates of a run directory compared, with intervals, and the mixture to use.

The spine is a two-way bootstrap, paired: documents are resampled within each domain, seeds jointly, the same for both
candidates. Two things are not done as in a textbook, so that a stated level of 95 % holds with two or three seeds:

- Seeds. Resampling n of them shows only (n - 1) / n of their variance and tails that end at the best and the worst
  seed. That direction needs no drawing, so it is computed: variance of the paired difference between seeds, over n,
  with Student's t of n - 1 degrees. It is not pooled over pairs: noise between seeds depends on the mixture.
- Tails. Holm's correction asks for levels that percentiles of 2000 resamples cannot show. The documents' part is
  therefore the standard error of the resamples, with the degrees that the number and sizes of documents allow.

Both half widths add in quadrature: h^2 = t_seeds^2 v_seeds + t_documents^2 v_documents. This keeps its level for any
share of the two: given the estimates, the chance that a normal deviate exceeds h is a convex function of the share
(P(Z^2 > x) is convex in x), and at both ends it is exactly the stated level, by the definition of t. The variation
that seeds and documents share is counted in both parts, again to the wide side. Measured in
tests/test_verdict_level.py.

An interval is drawn at the error level that Holm's rule gives its comparison: it excludes 0 where the adjusted
p-value is at or under 1 - confidence. The found mixture against the plain ones on both targets is one family, the
method against all others a second, plain ones among themselves a third; the domains of a pair are one more, and its
worst domain (worst.py) one more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from doremi.errors import ConfigError
from doremi.files import ten_digits
from doremi.rundir.layout import SPLITS, RunDirectory
from doremi.verdict.candidates import Candidate, candidates_of, longer_of
from doremi.verdict.current import outdated
from doremi.verdict.describe import alone, comparisons, epochs_at_budget, interval, perplexity, ranks, targets
from doremi.verdict.downstream import downstream
from doremi.verdict.equal_compute import equal_compute
from doremi.verdict.measure import Measured, measure
from doremi.verdict.pairs import Roles, assign_roles, compare_domains, compare_overall, ordered_pairs
from doremi.verdict.recommend import Basis, recommend
from doremi.verdict.sizes import ranking, summary
from doremi.verdict.table import format_table
from doremi.verdict.values import (
    CandidateResult,
    DomainComparison,
    Target,
    Verdict,
    WorstComparison,
    read_verdict,
    write_verdict,
)
from doremi.verdict.worst import compare_worst

__all__ = [
    "Candidate", "Verdict", "candidates_of", "downstream", "equal_compute", "format_table", "judge", "longer_of",
    "outdated", "ranking", "read_verdict", "summary", "write_verdict",
]  # fmt: skip


def judge(
    run: RunDirectory,
    *,
    size: str,
    seeds: Sequence[int],
    candidates: Sequence[Candidate],
    reference_mixture: str,
    margin: float = 0.005,
    confidence: float = 0.95,
    target: Target = "uniform",
) -> Verdict:
    """Compare the finished `candidates` of one `size`, each trained with each of `seeds`.

    Reads only, and the same run gives the same value. `margin` is relative to the opponent's bits per byte; `target`
    is the average that the choice is made on; `reference_mixture` names the one among the candidates that is it, if
    there is one. `ConfigError`: an impossible argument. `RunError`: a candidate is missing or was trained on other
    weights than its mixture has, or nothing plain is among them. `DamageError`, `DataError`: see `measure`.
    """
    names = [one.name for one in candidates]
    _check(seeds, names, margin, confidence, target)
    measured = measure(run, size, seeds, candidates)
    weightings = targets(measured)
    means = measured.samples["select"].bits.mean(axis=1) @ weightings[target]
    roles = assign_roles(candidates, means)
    pairs = ordered_pairs(len(names), roles)
    select, report = (
        compare_overall(measured.samples[split], pairs, weightings, confidence, margin, roles.question)
        for split in SPLITS
    )
    return Verdict(
        confidence=confidence,
        margin=margin,
        domains=measured.domains.names,
        natural_weights=measured.natural.tolist(),
        reference_mixture=reference_mixture,
        size=size,
        seeds=tuple(seeds),
        tokens=measured.tokens,
        candidates=_results(run, candidates, measured, roles),
        comparisons=comparisons(names, report, roles.question),
        domain_comparisons=_domain_comparisons(measured, pairs, confidence, margin),
        worst_comparisons=_worst_comparisons(measured, pairs, confidence, margin),
        recommendation=recommend(Basis(names, seeds, target, margin, means, select[target], report[target]), roles),
    )


def _check(seeds: Sequence[int], mixtures: Sequence[str], margin: float, confidence: float, target: str) -> None:
    for what, values in (("seed", seeds), ("mixture", mixtures)):
        if not values:
            raise ConfigError(f"there is no {what} to compare; name at least one under candidates")
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            raise ConfigError(f"{what} {twice[0]!r} is named twice under candidates; name it once")
    if not 0 < confidence < 1:
        raise ConfigError(f"verdict.confidence is {confidence!r}; it must lie between 0 and 1, for example 0.95")
    if not 0 <= margin < math.inf:
        raise ConfigError(f"verdict.margin is {margin!r}; it must be 0 or more, for example 0.005")
    if target not in get_args(Target):
        raise ConfigError(f"verdict.target is {target!r}; it must be one of {', '.join(get_args(Target))}")


def _results(
    run: RunDirectory, candidates: Sequence[Candidate], measured: Measured, roles: Roles
) -> tuple[CandidateResult, ...]:
    places, at_budget = ranks(measured), epochs_at_budget(run, measured.weights)
    loss_CK = measured.samples["report"].loss.mean(axis=1)
    bits_CK = measured.samples["report"].bits.mean(axis=1)
    return tuple(
        CandidateResult(
            name=one.name,
            weights=measured.weights[i].tolist(),
            epochs=measured.epochs[i].tolist(),
            loss=loss_CK[i].tolist(),
            bits_per_byte=bits_CK[i].tolist(),
            perplexity=tuple(perplexity(loss_CK[i])),
            **vars(alone(measured, i, roles.baseline, roles.reference)),
            epochs_at_budget=at_budget[i],
            limited=one.limited,
            interval_of="method" if one.role == "per-seed" else "mixture",
            rank=places[i],
            trainings=measured.keys[i],
        )
        for i, one in enumerate(candidates)
    )


def _domain_comparisons(
    measured: Measured, pairs: Sequence[tuple[int, int]], confidence: float, margin: float
) -> tuple[DomainComparison, ...]:
    return tuple(
        DomainComparison(
            candidate=measured.names[pair[0]],
            opponent=measured.names[pair[1]],
            domain=domain,
            difference=ten_digits(result.difference),
            interval=interval(result),
            outcome=result.outcome,
        )
        for pair in pairs
        for domain, result in zip(
            measured.domains, compare_domains(measured.samples["report"], pair, confidence, margin), strict=True
        )
    )


def _worst_comparisons(
    measured: Measured, pairs: Sequence[tuple[int, int]], confidence: float, margin: float
) -> tuple[WorstComparison, ...]:
    made = []
    for pair in pairs:
        loss, regret = compare_worst(measured.samples["report"], pair, measured.domains.names, confidence, margin)
        first, second = (measured.names[i] for i in pair)
        made.append(WorstComparison(candidate=first, opponent=second, loss=loss, regret=regret))
    return tuple(made)
