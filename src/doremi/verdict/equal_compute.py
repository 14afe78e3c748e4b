"""Found mixtures' main models against plain ones that trained on for as long as the search took.

A comparison of its own: these models have seen different numbers of tokens, which `judge` refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from doremi.corpus.pool import Part
from doremi.rundir.layout import RunDirectory
from doremi.statistics.intervals import between
from doremi.statistics.setting import Terms
from doremi.statistics.table import TARGETS
from doremi.verdict.candidates import Candidate
from doremi.verdict.describe import digits
from doremi.verdict.measure import measure
from doremi.verdict.values import ComputeCandidate, EqualCompute


def equal_compute(
    run: RunDirectory,
    *,
    size: str,
    seeds: Sequence[int],
    candidates: Sequence[Candidate],
    longer: Sequence[Candidate],
    terms: Terms,
    documents: Part | None = None,
) -> EqualCompute:
    """The entry `equal_compute` of verdict.json: each found mixture against the plain ones `longer` of its own search.

    `terms`: level and margin of the verdict, and whether its look was planned. It holds steps of each, means on both
    targets, and the comparisons, whose intervals hold at once on each target.
    """
    first = [one for one in candidates if one.role == "found"]
    everyone = [*first, *longer]
    measured = measure(run, size, seeds, everyone, documents=documents, equal_tokens=False)
    pairs = [
        (i, len(first) + j)
        for i, one in enumerate(first)
        for j, other in enumerate(longer)
        if other.method == one.method
    ]
    compared = between(measured.table, pairs, terms, "compute")
    bits_CK = measured.table.bits().mean(axis=1)
    stages = [one.trainings[seeds[0]].stage() for one in everyone]
    return EqualCompute(
        candidates=tuple(
            ComputeCandidate(
                name=one.name,
                search=one.method,
                longer=one.role == "plain",
                trainings=keys,
                steps=stage["steps"],
                tokens=stage["tokens"],
                mean={target: float(bits_K @ measured.table.weights_of(target)) for target in TARGETS},
            )
            for one, stage, bits_K, keys in zip(everyone, stages, bits_CK, measured.keys, strict=True)
        ),
        comparisons=tuple(digits(asdict(one)) for one in compared),
    )
