"""What is shown of each candidate by itself: losses, averages, worst domains, epochs, steps to baseline.

Everything here is a mean over seeds. Shapes: C candidates, K domains, E evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from doremi.files import ten_digits
from doremi.rundir.layout import RunDirectory
from doremi.statistics.steps import reached
from doremi.statistics.table import TARGETS, Target
from doremi.verdict.measure import Measured
from doremi.verdict.values import LargestRegret, Mean, Ranks, StepsToBaseline, WorstDomain

_LARGEST_EXPONENT = 700.0  # exp of more is not a number that JSON can hold


@dataclass(frozen=True)
class Alone:
    """What is said of one candidate by itself."""

    mean: dict[Target, Mean]
    worst: WorstDomain
    worst_regret: LargestRegret
    domains_better_than_reference: int


def alone(measured: Measured, index: int, baseline: int) -> Alone:
    """`worst` is the domain with the most bits per byte."""
    bits, loss = measured.table.bits().mean(axis=1), measured.loss.mean(axis=1)
    regret = bits[index] - bits[baseline]
    worst, regretted = int(np.argmax(bits[index])), int(np.argmax(regret))
    names = measured.domains.names
    means: dict[Target, Mean] = {}
    for target in TARGETS:
        weights_K = measured.table.weights_of(target)
        means[target] = Mean(
            bits_per_byte=float(bits[index] @ weights_K), loss=float(loss[index] @ weights_K)
        )  # fmt: skip
    return Alone(
        mean=means,
        worst=WorstDomain(domain=names[worst], bits_per_byte=float(bits[index, worst]), loss=float(loss[index, worst])),
        worst_regret=LargestRegret(domain=names[regretted], bits_per_byte=float(regret[regretted])),
        domains_better_than_reference=int(np.sum(regret < 0)),
    )


def perplexity(loss_K: np.ndarray) -> list[float]:
    """exp(loss), as far as JSON can hold it."""
    return np.exp(np.minimum(loss_K, _LARGEST_EXPONENT)).tolist()


def ranks(measured: Measured) -> list[Ranks]:
    """Each candidate's place by both averages and by its worst domain, 1 is the fewest bits; equals share one."""
    bits_CK = measured.table.bits().mean(axis=1)
    by = {target: _places(bits_CK @ measured.table.weights_of(target)) for target in TARGETS}
    columns = zip(by["uniform"], by["natural"], _places(bits_CK.max(axis=1)), strict=True)
    return [Ranks(uniform=uniform, natural=natural, worst=worst) for uniform, natural, worst in columns]


def _places(value_C: np.ndarray) -> list[int]:
    return (1 + (value_C[None, :] < value_C[:, None]).sum(axis=1)).tolist()


def epochs_at_budget(run: RunDirectory, weights_CK: np.ndarray) -> list[tuple[float, ...] | None]:
    """Of each candidate, passes over each domain's training tokens in the final run; None where no budget is set."""
    budget = run.config().get("budget_tokens")
    if budget is None:
        return [None] * len(weights_CK)
    return [tuple(row_K) for row_K in (weights_CK * budget / np.array(run.corpus().true_tokens())).tolist()]


def steps_to_baseline(measured: Measured, index: int, baseline: int, target: Target, half: float) -> StepsToBaseline:
    """From the evaluations along the training; `half` is half of the interval of the difference to the baseline."""
    weights_K = measured.table.weights_of(target)
    curve, goal = measured.curves[index], float((measured.curves[baseline].bits @ weights_K)[-1])
    one = reached(curve.step, curve.bits @ weights_K, goal, 0.0 if index == baseline else half, measured.steps)
    return StepsToBaseline(
        step=one.step, earliest=one.earliest, latest=one.latest, of=one.of, speedup=one.speedup
    )  # fmt: skip


def digits(value: Any) -> Any:
    """Plain values with ten digits, so that the same run gives the same bytes on every processor."""
    if isinstance(value, dict):
        return {key: digits(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [digits(inner) for inner in value]
    return ten_digits(value) if isinstance(value, float) else value
