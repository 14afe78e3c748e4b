"""Found mixtures' main models against plain ones that trained on for as long as the search took.

A comparison of its own: these models have seen different numbers of tokens, which `judge` refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from doremi.rundir.layout import RunDirectory
from doremi.verdict.candidates import Candidate
from doremi.verdict.describe import comparisons, targets
from doremi.verdict.measure import measure
from doremi.verdict.pairs import compare_overall
from doremi.verdict.values import ComputeCandidate, EqualCompute


def equal_compute(
    run: RunDirectory,
    *,
    size: str,
    seeds: Sequence[int],
    candidates: Sequence[Candidate],
    longer: Sequence[Candidate],
    confidence: float,
    margin: float,
) -> EqualCompute:
    """The entry `equal_compute` of verdict.json: each found mixture against the plain ones `longer` of its own search.

    Steps of each, means on both targets, and the comparisons, corrected together.
    """
    first = [one for one in candidates if one.role == "found"]
    everyone = [*first, *longer]
    measured = measure(run, size, seeds, everyone, equal_tokens=False)
    weightings = targets(measured)
    pairs = [
        (i, len(first) + j)
        for i, one in enumerate(first)
        for j, other in enumerate(longer)
        if other.method == one.method
    ]
    compared = compare_overall(measured.samples["report"], pairs, weightings, confidence, margin)
    bits_CK = measured.samples["report"].bits.mean(axis=1)
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
                mean={target: float(bits_K @ weights) for target, weights in weightings.items()},
            )
            for one, stage, bits_K, keys in zip(everyone, stages, bits_CK, measured.keys, strict=True)
        ),
        comparisons=comparisons(measured.names, compared),
    )
