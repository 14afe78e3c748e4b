"""For tests of verdicts: candidates of a made run by name, and a verdict's plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from doremi.rundir.layout import RunDirectory
from doremi.verdict import Candidate, Rules, Verdict, candidates_of, judge


def candidates(run: RunDirectory, names: Sequence[str], reference: str = "natural") -> list[Candidate]:
    """The candidates `names` of the run at its size, in this order."""
    nodes = run.nodes().model_copy(update={"reference_mixture": reference})
    everyone = {one.name: one for one in candidates_of(run, nodes, "tiny")}
    return [everyone[name] for name in names]


def verdict_over(run: RunDirectory, names: Sequence[str], reference: str = "natural", **options: Any) -> Verdict:
    """The verdict over `names` at all seeds of the run, or those of `options`."""
    chosen = candidates(run, names, reference)
    seeds = sorted(node.seed for node in run.nodes().find("reference"))
    rules = Rules(**{key: options.pop(key) for key in list(options) if key in {f.name for f in fields(Rules)}})
    return judge(
        run,
        **{"size": "tiny", "seeds": seeds, "candidates": chosen, "reference_mixture": reference, **options},
        rules=rules,
    )
