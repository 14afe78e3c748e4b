"""Whether the ranking of the candidates holds as models grow: verdicts of several sizes side by side."""

from __future__ import annotations

from collections.abc import Sequence

from doremi.verdict.values import Outcome, Ranking, SizeComparison, SizeSummary, Verdict

_FLIPPED: dict[Outcome, Outcome] = {"win": "loss", "loss": "win", "tie": "tie", "undecided": "undecided"}


def summary(verdict: Verdict, parameters: int) -> SizeSummary:
    """An entry of `sizes` in verdict.json: one size's means, order and comparisons on the target that decides."""
    target = verdict.recommendation.target
    means = {one.name: one.mean[target].bits_per_byte for one in verdict.candidates}
    return SizeSummary(
        size=verdict.size,
        parameters=parameters,
        tokens=verdict.tokens,
        bits_per_byte=means,
        order=tuple(sorted(means, key=lambda name: means[name])),
        recommended=verdict.recommendation.mixture,
        trainings={one.name: one.trainings for one in verdict.candidates},
        comparisons=tuple(
            SizeComparison(
                candidate=one.candidate,
                opponent=one.opponent,
                difference=one.difference,
                relative=one.relative,
                interval=one.interval,
                outcome=one.outcome,
            )
            for one in verdict.comparisons
            if one.target == target
        ),
    )


def ranking(sizes: Sequence[SizeSummary]) -> Ranking:
    """Whether what is decided at one size is not the other way round at another; `sizes` from small to large."""
    decided: dict[tuple[str, str], list[tuple[str, Outcome]]] = {}
    for entry in sizes:
        for one in entry.comparisons:
            if one.outcome in ("win", "loss"):
                pair, result = _ordered(one)
                decided.setdefault(pair, []).append((entry.size, result))
    twice = {pair: outcomes for pair, outcomes in decided.items() if len(outcomes) > 1}
    turned = {pair: each for pair, each in twice.items() if len({result for _, result in each}) > 1}
    if turned:
        return Ranking(holds=False, reason=" ".join(_turn(*pair, each) for pair, each in turned.items()))
    if twice:
        return Ranking(holds=True, reason=f"all {len(twice)} pairs that are decided at two sizes or more agree")
    return Ranking(holds=None, reason="no pair of mixtures is decided at two sizes")


def _ordered(one: SizeComparison) -> tuple[tuple[str, str], Outcome]:
    """Names in alphabetical order, for a pair may be turned round between sizes, and the result of the first."""
    first, second = one.candidate, one.opponent
    return ((first, second), one.outcome) if first < second else ((second, first), _FLIPPED[one.outcome])


def _turn(first: str, second: str, outcomes: Sequence[tuple[str, Outcome]]) -> str:
    words = {"win": "beats", "loss": "loses to"}
    return f"{first} " + ", ".join(f"{words[result]} {second} at {size}" for size, result in outcomes) + "."
