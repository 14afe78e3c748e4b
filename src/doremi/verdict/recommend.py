"""Which mixture to use, and why, in words.

The choice looks at the `select` split alone: a found mixture is recommended if it wins there against the best
plain one, else the best plain one is. What the `report` split says of the same pair is told beside it, unlooked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from doremi.verdict.compare import MOST_SEEDS, TIE, UNDECIDED, WIN, seeds_to_decide
from doremi.verdict.pairs import Pair, Roles, seen_from
from doremi.verdict.values import Outcome, Recommendation, Target

FEWEST_SEEDS = 3  # two give a variance, but one so uncertain that hardly anything is ever decided


@dataclass(frozen=True)
class Basis:
    """What a recommendation is made from. `select` and `report`: all pairs on `target`; `means`: `select`, `[C]`."""

    names: Sequence[str]
    seeds: Sequence[int]
    target: Target
    margin: float
    means: np.ndarray
    select: Sequence[Pair]
    report: Sequence[Pair]


def recommend(basis: Basis, roles: Roles) -> Recommendation:
    """The entry `recommendation` of verdict.json; `outcome` is the recommended mixture's, on the `select` split."""
    chosen, rival = choose(basis, roles)
    if rival is None:
        reason = f"{basis.names[chosen]} is the only candidate. Train others beside it."
        return _entry(basis, roles, chosen, reason, UNDECIDED)
    pair = seen_from(basis.select, chosen, rival)
    seeds = _seeds_needed(basis, pair)
    reason = " ".join([_why(basis, roles, pair), *_doubt(basis, pair, seeds), _on_report(basis, chosen, rival)])
    return _entry(basis, roles, chosen, reason, pair.result.outcome, seeds)


def choose(basis: Basis, roles: Roles) -> tuple[int, int | None]:
    """The recommended candidate and its rival: the best found against the best plain mixture.

    Without a found one the rival is the second best plain mixture, if there is one.
    """
    plain = roles.best_plain
    others = [i for i in (roles.found or range(len(basis.names))) if i != plain and i not in roles.per_seed]
    if not others:
        return plain, None
    rival = min(others, key=lambda i: basis.means[i])
    if seen_from(basis.select, rival, plain).result.outcome == WIN:
        return rival, plain
    return plain, rival


def tied_with(basis: Basis, roles: Roles, chosen: int) -> list[str]:
    """Names of all mixtures that cannot be told apart from the chosen one on the `select` split."""
    others = [i for i in range(len(basis.names)) if i != chosen and i not in roles.per_seed]
    return [basis.names[i] for i in others if seen_from(basis.select, chosen, i).result.outcome in (TIE, UNDECIDED)]


def _entry(
    basis: Basis, roles: Roles, chosen: int, reason: str, outcome: Outcome, seeds: int | None = None
) -> Recommendation:
    return Recommendation(
        mixture=basis.names[chosen],
        reason=reason,
        outcome=outcome,
        tied_with=tuple(tied_with(basis, roles, chosen)),
        seeds_to_decide=seeds,
        target=basis.target,
    )


def _seeds_needed(basis: Basis, pair: Pair) -> int | None:
    """For the difference seen, or for the margin where less was seen: nobody needs to tell smaller ones apart."""
    result = pair.result
    if result.outcome != UNDECIDED:
        return None
    effect = max(abs(result.difference), basis.margin * result.opponent)
    return seeds_to_decide(pair.family, pair.index, effect, result.level)


def _why(basis: Basis, roles: Roles, pair: Pair) -> str:
    chosen, rival = basis.names[pair.candidate], basis.names[pair.opponent]
    plain = f"the best plain mixture on the {basis.target} average"
    if pair.candidate in roles.found:
        return f"{chosen} beats {rival}, {plain}."
    return {
        WIN: f"{chosen}, {plain}, beats {rival}.",
        TIE: f"{chosen} is {plain}. {rival} differs from it by less than the margin of {basis.margin:.2%}.",
        UNDECIDED: f"{chosen} is {plain}. With {_count(len(basis.seeds))}, {rival} does not differ significantly.",
    }[pair.result.outcome]


def _doubt(basis: Basis, pair: Pair, seeds: int | None) -> list[str]:
    if pair.result.outcome != UNDECIDED:
        return []
    if len(basis.seeds) < 2:
        return [f"One seed is not enough to compare mixtures. Train at least {FEWEST_SEEDS} seeds."]
    if seeds is None:
        return [f"Not even {MOST_SEEDS} seeds would decide it. Longer training or more validation documents may."]
    return [f"About {seeds} seeds would decide it."]


def _on_report(basis: Basis, chosen: int, rival: int) -> str:
    result = seen_from(basis.report, chosen, rival).result
    share = result.difference / result.opponent
    return (
        f"On the report documents, which the choice did not use, {basis.names[chosen]} has "
        f"{abs(share):.2%} {'fewer' if share <= 0 else 'more'} bits per byte ({result.outcome})."
    )


def _count(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"
