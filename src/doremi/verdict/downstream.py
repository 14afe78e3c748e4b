"""Downstream tasks compared: fewshot.json of candidates and seeds, judged with the verdict's own statistics.

Tasks take the place of domains, examples that of documents, and 1 - accuracy that of bits per byte, so that lower is
better throughout. Who stands against whom, and which comparisons Holm's correction counts together, is as in the
verdict's own comparisons: a family is those of one question, on the mean over tasks and on each task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from doremi.errors import RunError
from doremi.files import read_json, ten_digits
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.verdict.bootstrap import DomainSample, gather, sample_domain
from doremi.verdict.candidates import Candidate
from doremi.verdict.describe import Compared, ends, pair_by_pair
from doremi.verdict.pairs import Pair, compare_overall
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
        metrics={metric: _metric(runs, metric, [one.name for one in candidates], verdict) for metric in metrics},
    )


def _read(folder: TrainingFolder) -> dict[str, Any]:
    return read_json(folder.folder / FILE, "few-shot evaluation")


def _metric(runs: Runs, metric: str, mixtures: Sequence[str], verdict: Verdict) -> Metric:
    tasks = [name for name, task in runs[0][0]["tasks"].items() if metric in task["metrics"]]
    higher = runs[0][0]["tasks"][tasks[0]]["metrics"][metric]["higher_is_better"]
    values_KCSN = [np.array([[r["tasks"][t]["metrics"][metric]["values"] for r in row] for row in runs]) for t in tasks]
    means_CK = np.array([values.mean(axis=(1, 2)) for values in values_KCSN]).T
    samples = [_sample(1 - v if higher else v, number) for number, v in enumerate(values_KCSN)]
    weights_TK = np.vstack([np.full(len(tasks), 1 / len(tasks)), np.eye(len(tasks))])
    families = _families(verdict, mixtures)
    told = not (higher and np.all(means_CK == 0))  # all models at 0 are not a tie: they are too small to ask
    by_task: dict[str, list[Pair]] = {}
    if families and told:
        by_task = compare_overall(
            gather(samples), list(families), dict(zip(["mean", *tasks], weights_TK, strict=True)),
            verdict.confidence, verdict.margin, families.__getitem__,
        )  # fmt: skip
    compared = pair_by_pair(mixtures, by_task, families.__getitem__)
    return Metric(
        higher_is_better=higher,
        tasks=tuple(tasks),
        values={name: _by_task(tasks, means_CK[i]) for i, name in enumerate(mixtures)},
        comparisons=tuple(_comparison(one, -1 if higher else 1) for one in compared),
    )


def _families(verdict: Verdict, mixtures: Sequence[str]) -> dict[tuple[int, int], Family]:
    """Positions (candidate, opponent) of all pairs as the verdict has them, and the family of each."""
    place = {name: index for index, name in enumerate(mixtures)}
    return {(place[one.candidate], place[one.opponent]): one.family for one in verdict.comparisons}


def _sample(cost_CSN: np.ndarray, number: int) -> DomainSample:
    """One task as a domain: bits per byte become the plain mean of the costs."""
    one = np.ones(cost_CSN.shape[-1])
    return sample_domain(cost_CSN, one, one / math.log(2), (7, number))


def _by_task(tasks: Sequence[str], mean_K: np.ndarray) -> dict[str, float | None]:
    each = {task: ten_digits(value) for task, value in zip(tasks, mean_K.tolist(), strict=True)}
    return {"mean": ten_digits(float(mean_K.mean())), **each}


def _comparison(one: Compared[str], sign: int) -> TaskComparison:
    """As the metric counts: positive is more of it."""
    result = one.result
    low, high = sorted((sign * (result.difference - result.half), sign * (result.difference + result.half)))
    return TaskComparison(
        candidate=one.candidate,
        opponent=one.opponent,
        family=one.family,
        task=one.average,
        difference=ten_digits(sign * result.difference),
        interval=ends(low, high),
        outcome=result.outcome,
    )
