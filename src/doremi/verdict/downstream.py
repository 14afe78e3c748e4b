"""Downstream tasks compared: fewshot.json of candidates and seeds, judged as losses are.

Tasks take the place of domains and examples that of documents. Costs, so that lower is better throughout, are 1 less
accuracy, or nats. Who stands against whom is as in the verdict's own comparisons.

Shapes: C candidates, S seeds, K tasks, N examples of a task, W averages (the mean over tasks, and each task).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from doremi.errors import RunError
from doremi.files import read_json, ten_digits
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.statistics.compared import compare
from doremi.statistics.dunnett import multiplier
from doremi.statistics.examples import outcome_in_points, sign_test
from doremi.statistics.intervals import ends, half_of
from doremi.statistics.table import DomainLosses, Entrant, Measurements, originals
from doremi.verdict.candidates import Candidate
from doremi.verdict.values import Downstream, Family, Metric, TaskComparison, Verdict

FILE = "fewshot.json"
METRICS = ("exact_match", "answer_nats_per_byte", "last_word_accuracy")

Runs = list[list[dict[str, Any]]]  # of each candidate and seed, its fewshot.json


def downstream(run: RunDirectory, candidates: Sequence[Candidate], verdict: Verdict) -> Downstream | None:
    """What verdict.json says of downstream tasks; None where a candidate has not been evaluated on any.

    `verdict` is that of the same `candidates`, as `judge` returns it. `RunError` if candidates were evaluated on
    different files or with different settings.
    """
    folders = [[one.trainings[seed] for seed in verdict.seeds] for one in candidates]
    if not all((folder.folder / FILE).exists() for row in folders for folder in row):
        return None
    runs = [[_read(folder) for folder in row] for row in folders]
    asked = {(r["shots"], r["limit"], *(t["sha256"] for t in r["tasks"].values())) for row in runs for r in row}
    if len(asked) > 1:
        raise RunError(f"{run.root}: candidates have {FILE} of different tasks or settings; run `doremi run` again")
    first = runs[0][0]
    metrics = [metric for metric in METRICS if any(metric in task["metrics"] for task in first["tasks"].values())]
    return Downstream(
        shots=first["shots"],
        examples={name: task["n"] for name, task in first["tasks"].items()},
        metrics={metric: _metric(runs, metric, candidates, verdict) for metric in metrics},
    )


def _read(folder: TrainingFolder) -> dict[str, Any]:
    return read_json(folder.folder / FILE, "few-shot evaluation")


def _metric(runs: Runs, metric: str, candidates: Sequence[Candidate], verdict: Verdict) -> Metric:
    tasks = [name for name, task in runs[0][0]["tasks"].items() if metric in task["metrics"]]
    higher = bool(runs[0][0]["tasks"][tasks[0]]["metrics"][metric]["higher_is_better"])
    values = [np.array([[r["tasks"][t]["metrics"][metric]["values"] for r in row] for row in runs]) for t in tasks]
    means_CK = np.array([values_CSN.mean(axis=(1, 2)) for values_CSN in values]).T
    told = not (higher and np.all(means_CK == 0))  # all models at 0 are not a tie: they are too small to ask
    return Metric(
        higher_is_better=higher,
        tasks=tuple(tasks),
        values={one.name: _by_task(tasks, means_CK[i]) for i, one in enumerate(candidates)},
        comparisons=tuple(_comparisons(tasks, values, candidates, verdict, higher=higher)) if told else (),
    )


def _comparisons(
    tasks: Sequence[str],
    values: Sequence[np.ndarray],
    candidates: Sequence[Candidate],
    verdict: Verdict,
    *,
    higher: bool,
) -> list[TaskComparison]:
    """All pairs of the verdict, on the mean over tasks and on each."""
    costs = [1 - one if higher else one for one in values]
    averages = [("mean", np.full(len(tasks), 1 / len(tasks)))]
    averages += [(task, row_K) for task, row_K in zip(tasks, np.eye(len(tasks)), strict=True)]
    made = []
    for candidate, opponent, family in _pairs(verdict):
        for task, weights_K in averages:
            asked = _Asked(task, weights_K, higher, verdict)
            made.append(_comparison(_table(tasks, costs, candidates), (candidate, opponent, family), asked))
    return made


@dataclass(frozen=True, eq=False)
class _Asked:
    """One average of the tasks, and how it is judged."""

    task: str
    weights_K: np.ndarray
    higher: bool
    verdict: Verdict


def _pairs(verdict: Verdict) -> list[tuple[str, str, Family]]:
    target = verdict.recommendation.target
    return [(one.candidate, one.opponent, one.family) for one in verdict.comparisons if one.target == target]


def _table(tasks: Sequence[str], costs: Sequence[np.ndarray], candidates: Sequence[Candidate]) -> Measurements:
    """Tasks as domains. One is added to each cost, which cancels in differences: a level may not be 0."""
    seeds = costs[0].shape[1]
    domains = tuple(
        DomainLosses(task, 1.0, np.full(cost.shape[-1], 1 / math.log(2)), 1 + cost)
        for task, cost in zip(tasks, costs, strict=True)
    )
    return Measurements(tuple(Entrant(c.name, c.role, ()) for c in candidates), tuple(range(seeds)), domains)


def _comparison(table: Measurements, pair: tuple[str, str, Family], asked: _Asked) -> TaskComparison:
    """As the metric counts: positive is more of it."""
    name, against, family = pair
    one, other = table.names.index(name), table.names.index(against)
    first, level = originals(table), asked.verdict.level
    alone = family == "method" or first[one] == first[other]
    rest = {i for i in first if table.entrants[i].role != "per-seed"} - {first[one], first[other]}
    keep = sorted({one, other} | (set() if alone else rest))
    some = table.only(keep, table.seeds)
    hubs = np.array([entrant.role == "found" for entrant in some.entrants])
    compared = compare(some.bits(), some.documents(), asked.weights_K, hubs)
    difference, parts = compared.pair(keep.index(one), keep.index(other))
    if compared.seeds > 1:  # counts agree in all seeds by chance too, which the sign test below guards against
        parts = replace(parts, seeds=np.nan_to_num(parts.seeds))
    c = multiplier(len(keep) - 1, float(parts.seed_freedom), level) if compared.seeds > 1 else None
    half, difference = half_of(parts, c), float(difference)
    signs = sign_test(_by_example(table, one, other, asked.weights_K))
    surely = abs(difference) > half and signs <= level and asked.verdict.exploratory is None
    margin = asked.verdict.margin * (1.0 if asked.higher else float(compared.means[keep.index(other)]) - 1)
    result = outcome_in_points(difference, half, 0.0 if surely else 1.0, level, margin)
    return _written(pair, asked, difference, half, result)


def _written(
    pair: tuple[str, str, Family], asked: _Asked, difference: float, half: float, outcome: Any
) -> TaskComparison:
    sign = -1 if asked.higher else 1
    interval = ends(sign * difference, half, math.inf)
    low_high = None if interval is None else (ten_digits(interval[0]), ten_digits(interval[1]))
    return TaskComparison(
        candidate=pair[0],
        opponent=pair[1],
        family=pair[2],
        task=asked.task,
        difference=ten_digits(sign * difference),
        interval=low_high if low_high and None not in low_high else None,  # pyright: ignore[reportArgumentType]
        outcome=outcome,
    )


def _by_example(table: Measurements, one: int, other: int, weights_K: np.ndarray) -> np.ndarray:
    """Costs of one less the other's, mean over seeds, of all examples that count in an average."""
    asked = [domain for domain, weight in zip(table.domains, weights_K, strict=True) if weight > 0]
    return np.concatenate([(d.nats_CSD[one] - d.nats_CSD[other]).mean(axis=0) for d in asked])


def _by_task(tasks: Sequence[str], mean_K: np.ndarray) -> dict[str, float | None]:
    each = {task: ten_digits(value) for task, value in zip(tasks, mean_K.tolist(), strict=True)}
    return {"mean": ten_digits(float(mean_K.mean())), **each}
