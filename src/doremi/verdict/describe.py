"""What is shown of each candidate by itself (losses, averages, worst domains, epochs, steps to baseline) and of pairs.

Everything here is of the `report` split and a mean over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from doremi.files import ten_digits
from doremi.rundir.layout import RunDirectory
from doremi.verdict.compare import Result
from doremi.verdict.measure import Curve, Measured
from doremi.verdict.pairs import Pair

_LARGEST_EXPONENT = 700.0  # exp of more is not a number that JSON can hold


def targets(measured: Measured) -> dict[str, np.ndarray]:
    """The weightings that average domains, `[K]` each: every domain alike, and by natural size."""
    count = len(measured.domains)
    return {"uniform": np.full(count, 1 / count), "natural": measured.natural}


def candidate(measured: Measured, index: int, baseline: int, reference: int | None) -> dict[str, Any]:
    """One entry of `candidates` in verdict.json. `worst` is the domain with the most bits per byte."""
    sample = measured.samples["report"]
    loss, bits = sample.loss.mean(axis=1), sample.bits.mean(axis=1)
    regret = bits[index] - bits[baseline]
    worst, regretted = int(np.argmax(bits[index])), int(np.argmax(regret))
    names = measured.domains.names
    return {
        "name": measured.names[index],
        "weights": measured.weights[index].tolist(),
        "epochs": measured.epochs[index].tolist(),
        "loss": loss[index].tolist(),
        "bits_per_byte": bits[index].tolist(),
        "perplexity": np.exp(np.minimum(loss[index], _LARGEST_EXPONENT)).tolist(),
        "mean": {
            target: {"bits_per_byte": float(bits[index] @ weights), "loss": float(loss[index] @ weights)}
            for target, weights in targets(measured).items()
        },
        "worst": {
            "domain": names[worst],
            "bits_per_byte": float(bits[index, worst]),
            "loss": float(loss[index, worst]),
        },
        "worst_regret": {"domain": names[regretted], "bits_per_byte": float(regret[regretted])},
        "domains_better_than_reference": None if reference is None else int(np.sum(bits[index] < bits[reference])),
        "steps_to_baseline": steps_to_baseline(
            measured.curves[index], float(measured.curves[baseline].loss[-1]), measured.steps
        ),
    }


def ranks(measured: Measured) -> dict[str, np.ndarray]:
    """Each candidate's place by both averages and by its worst domain, 1 is the fewest bits; equals share one. `[C]`"""
    bits_CK = measured.samples["report"].bits.mean(axis=1)
    by = {target: bits_CK @ weights for target, weights in targets(measured).items()} | {"worst": bits_CK.max(axis=1)}
    return {what: 1 + (value[None, :] < value[:, None]).sum(axis=1) for what, value in by.items()}


def epochs_at_budget(run: RunDirectory, weights_CK: np.ndarray) -> list[list[float] | None]:
    """Of each candidate, passes over each domain's training tokens in the final run; None where no budget is set."""
    budget = run.config().get("budget_tokens")
    if budget is None:
        return [None] * len(weights_CK)
    return (weights_CK * budget / run.corpus().count("train", "tokens")).tolist()


def steps_to_baseline(curve: Curve, goal: float, of: int) -> dict[str, Any]:
    """First step from which `curve` stays at or under `goal`, linear between evaluations; `of`: steps of the run.

    Reaching it and rising above it again does not count. A curve under the goal from its first evaluation on gets
    that evaluation's step, as nothing is known before it. Losses that are not finite are above any goal.
    """
    above = np.flatnonzero(~(curve.loss <= goal))
    if len(above) and above[-1] == len(curve.step) - 1:
        return {"reached": False, "step": None, "of": of, "speedup": None}
    step = float(curve.step[0])
    if len(above):
        last, after = above[-1], above[-1] + 1
        drop = curve.loss[last] - curve.loss[after]
        part = (curve.loss[last] - goal) / drop if np.isfinite(drop) else 1.0
        step = float(curve.step[last] + part * (curve.step[after] - curve.step[last]))
    return {"reached": True, "step": step, "of": of, "speedup": of / step}


def comparisons(
    names: Sequence[str],
    by_target: Mapping[str, Sequence[Pair]],
    question: Callable[[tuple[int, int]], str] = lambda pair: "all",
) -> list[dict[str, Any]]:
    """The entries `comparisons` of verdict.json, pair by pair, each on all targets; `question` names their families."""
    return [
        {
            **head,
            "target": target,
            "difference": ten_digits(pair.result.difference),
            "relative": ten_digits(pair.result.difference / pair.result.opponent),
            "interval": interval(pair.result),
            "p_value": ten_digits(pair.result.p_value),
            "p_adjusted": ten_digits(pair.result.p_adjusted),
            "outcome": pair.result.outcome,
        }
        for head, target, pair in pair_by_pair(names, by_target, question)
    ]


def pair_by_pair(
    names: Sequence[str], by_target: Mapping[str, Sequence[Pair]], question: Callable[[tuple[int, int]], str]
) -> Iterator[tuple[dict[str, Any], str, Pair]]:
    """Each pair on all targets: who, against whom and in which family; the target; the pair."""
    for row in zip(*by_target.values(), strict=True):
        for target, pair in zip(by_target, row, strict=True):
            family = question((pair.candidate, pair.opponent))
            yield {"candidate": names[pair.candidate], "opponent": names[pair.opponent], "family": family}, target, pair


def interval(result: Result) -> list[float | None] | None:
    """Both ends of a difference's interval; None with one seed."""
    return ends(result.difference - result.half, result.difference + result.half)


def ends(low: float, high: float) -> list[float | None] | None:
    """An interval as it is written; None where it is not known."""
    return [ten_digits(low), ten_digits(high)] if math.isfinite(low) and math.isfinite(high) else None
