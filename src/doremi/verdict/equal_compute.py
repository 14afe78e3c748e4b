"""DoReMi's main models against plain ones that trained on for as long as its search took.

A comparison of its own: these models have seen different numbers of tokens, which `judge` refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doremi.mixture.names import LEARNED, WITH_SEARCH
from doremi.rundir.layout import RunDirectory
from doremi.verdict.describe import comparisons, targets
from doremi.verdict.measure import measure
from doremi.verdict.pairs import compare_overall


def equal_compute(
    run: RunDirectory, *, size: str, seeds: Sequence[int], plain: Sequence[str], confidence: float, margin: float
) -> dict[str, Any]:
    """The entry `equal_compute` of verdict.json; `plain` are mixtures with main models named `<name>+search`.

    Steps of each, means on both targets, and DoReMi's comparison with each of them, corrected together.
    """
    names = [LEARNED, *(name + WITH_SEARCH for name in plain)]
    measured = measure(run, size, seeds, names, equal_tokens=False)
    weightings = targets(measured)
    pairs = [(0, opponent) for opponent in range(1, len(names))]
    judged = compare_overall(measured.samples["report"], pairs, weightings, confidence, margin)
    bits_CK = measured.samples["report"].bits.mean(axis=1)
    stages = [run.main(size, name, seeds[0]).stage() for name in names]
    return {
        "candidates": [
            {
                "name": name,
                "steps": stage["steps"],
                "tokens": stage["tokens"],
                "mean": {target: float(bits_K @ weights) for target, weights in weightings.items()},
            }
            for name, stage, bits_K in zip(names, stages, bits_CK, strict=True)
        ],
        "comparisons": comparisons(names, judged),
    }
