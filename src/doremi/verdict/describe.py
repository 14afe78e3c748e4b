"""What is shown of each candidate by itself (losses, averages, worst domains, epochs, steps to baseline) and of pairs.

Everything here is of the `report` split and a mean over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from doremi.files import ten_digits
from doremi.rundir.layout import RunDirectory
from doremi.verdict.compare import Result
from doremi.verdict.measure import Curve, Measured
from doremi.verdict.pairs import Key, Pair, Question, all_together
from doremi.verdict.values import (
    Comparison,
    Family,
    Interval,
    LargestRegret,
    Mean,
    Ranks,
    StepsToBaseline,
    Target,
    WorstDomain,
)

_LARGEST_EXPONENT = 700.0  # exp of more is not a number that JSON can hold


def targets(measured: Measured) -> dict[Target, np.ndarray]:
    """The weightings that average domains, `[K]` each: every domain alike, and by natural size."""
    count = len(measured.domains)
    return {"uniform": np.full(count, 1 / count), "natural": measured.natural}


@dataclass(frozen=True)
class Alone:
    """What the report split says of one candidate by itself."""

    mean: dict[Target, Mean]
    worst: WorstDomain
    worst_regret: LargestRegret
    domains_better_than_reference: int | None
    steps_to_baseline: StepsToBaseline


def alone(measured: Measured, index: int, baseline: int, reference: int | None) -> Alone:
    """`worst` is the domain with the most bits per byte."""
    sample = measured.samples["report"]
    loss, bits = sample.loss.mean(axis=1), sample.bits.mean(axis=1)
    regret = bits[index] - bits[baseline]
    worst, regretted = int(np.argmax(bits[index])), int(np.argmax(regret))
    names = measured.domains.names
    return Alone(
        mean={
            target: Mean(bits_per_byte=float(bits[index] @ weights), loss=float(loss[index] @ weights))
            for target, weights in targets(measured).items()
        },
        worst=WorstDomain(domain=names[worst], bits_per_byte=float(bits[index, worst]), loss=float(loss[index, worst])),
        worst_regret=LargestRegret(domain=names[regretted], bits_per_byte=float(regret[regretted])),
        domains_better_than_reference=None if reference is None else int(np.sum(bits[index] < bits[reference])),
        steps_to_baseline=steps_to_baseline(
            measured.curves[index], float(measured.curves[baseline].loss[-1]), measured.steps
        ),
    )


def perplexity(loss_K: np.ndarray) -> list[float]:
    """exp(loss), as far as JSON can hold it."""
    return np.exp(np.minimum(loss_K, _LARGEST_EXPONENT)).tolist()


def ranks(measured: Measured) -> list[Ranks]:
    """Each candidate's place by both averages and by its worst domain, 1 is the fewest bits; equals share one."""
    bits_CK = measured.samples["report"].bits.mean(axis=1)
    by = {target: _places(bits_CK @ weights) for target, weights in targets(measured).items()}
    columns = zip(by["uniform"], by["natural"], _places(bits_CK.max(axis=1)), strict=True)
    return [Ranks(uniform=uniform, natural=natural, worst=worst) for uniform, natural, worst in columns]


def _places(value_C: np.ndarray) -> list[int]:
    return (1 + (value_C[None, :] < value_C[:, None]).sum(axis=1)).tolist()


def epochs_at_budget(run: RunDirectory, weights_CK: np.ndarray) -> list[tuple[float, ...] | None]:
    """Of each candidate, passes over each domain's training tokens in the final run; None where no budget is set."""
    budget = run.config().get("budget_tokens")
    if budget is None:
        return [None] * len(weights_CK)
    return [tuple(row_K) for row_K in (weights_CK * budget / run.corpus().count("train", "tokens")).tolist()]


def steps_to_baseline(curve: Curve, goal: float, of: int) -> StepsToBaseline:
    """First step from which `curve` stays at or under `goal`, linear between evaluations; `of`: steps of the run.

    Reaching it and rising above it again does not count. A curve under the goal from its first evaluation on gets
    that evaluation's step, as nothing is known before it. Losses that are not finite are above any goal.
    """
    above = np.flatnonzero(~(curve.loss <= goal))
    if len(above) and above[-1] == len(curve.step) - 1:
        return StepsToBaseline(reached=False, step=None, of=of, speedup=None)
    step = float(curve.step[0])
    if len(above):
        last, after = above[-1], above[-1] + 1
        drop = curve.loss[last] - curve.loss[after]
        part = (curve.loss[last] - goal) / drop if np.isfinite(drop) else 1.0
        step = float(curve.step[last] + part * (curve.step[after] - curve.step[last]))
    return StepsToBaseline(reached=True, step=step, of=of, speedup=of / step)


def comparisons(
    names: Sequence[str], by_target: Mapping[Target, Sequence[Pair]], question: Question = all_together
) -> tuple[Comparison, ...]:
    """The entries `comparisons` of verdict.json, pair by pair, each on all targets; `question` names their families."""
    return tuple(
        Comparison(
            candidate=one.candidate,
            opponent=one.opponent,
            family=one.family,
            target=one.average,
            difference=ten_digits(one.result.difference),
            relative=ten_digits(one.result.difference / one.result.opponent),
            interval=interval(one.result),
            p_value=ten_digits(one.result.p_value),
            p_adjusted=ten_digits(one.result.p_adjusted),
            outcome=one.result.outcome,
        )
        for one in pair_by_pair(names, by_target, question)
    )


@dataclass(frozen=True)
class Compared(Generic[Key]):
    """A pair on one average, which is a target or a task: who, against whom, in which family."""

    candidate: str
    opponent: str
    family: Family
    average: Key
    result: Result


def pair_by_pair(
    names: Sequence[str], by_average: Mapping[Key, Sequence[Pair]], question: Question
) -> Iterator[Compared[Key]]:
    """Each pair on all averages."""
    for position in range(len(next(iter(by_average.values()), ()))):
        for average, pairs in by_average.items():
            pair = pairs[position]
            family = question((pair.candidate, pair.opponent))
            yield Compared(names[pair.candidate], names[pair.opponent], family, average, pair.result)


def interval(result: Result) -> Interval:
    """Both ends of a difference's interval; None with one seed."""
    return ends(result.difference - result.half, result.difference + result.half)


def ends(low: float, high: float) -> Interval:
    """An interval as it is written; None where it is not known."""
    lower, upper = ten_digits(low), ten_digits(high)
    return None if lower is None or upper is None else (lower, upper)
