"""The verdict of a run: its finished candidates compared, size by size."""

from __future__ import annotations

from typing import Any

from doremi import verdict
from doremi.config import RunConfig
from doremi.mixture.names import LEARNED, PER_SEED
from doremi.rundir.layout import RunDirectory
from doremi.rundir.weights import candidate_name


def judge(config: RunConfig) -> dict[str, Any]:
    """Compare the finished candidates, size by size, and write verdict.json; returns it.

    The verdict is that of the largest size, which is nearest to the final run.
    """
    directory = RunDirectory(config.root)
    mixtures = [candidate_name(name) for name in config.candidate_mixtures()]
    by_size = [_judge_size(config, directory, size, mixtures) for size in config.size_names()]
    by_size.sort(key=lambda pair: pair[1])
    result, _ = by_size[-1]
    if len(by_size) > 1:
        sizes = [verdict.summary(judged, parameters) for judged, parameters in by_size]
        result |= {"sizes": sizes, "ranking": verdict.ranking(sizes)}
    plain = [candidate_name(n) for n in config.candidate_mixtures() if n not in (LEARNED, PER_SEED)]
    if config.candidates.equal_compute:
        result["equal_compute"] = verdict.equal_compute(
            directory, size=result["size"], seeds=result["seeds"], plain=plain,
            confidence=config.verdict.confidence, margin=config.verdict.margin,
        )  # fmt: skip
    tasks = verdict.downstream(directory, result)
    if tasks is not None:
        result["downstream"] = tasks
    verdict.write(directory, result)
    return result


def _judge_size(
    config: RunConfig, directory: RunDirectory, size: str, mixtures: list[str]
) -> tuple[dict[str, Any], int]:
    """The verdict at one size, and how many parameters that is."""
    judged = verdict.judge(
        directory,
        size=size,
        seeds=config.candidate_seeds(),
        mixtures=mixtures,
        reference_mixture=candidate_name(config.reference.mixture),
        margin=config.verdict.margin,
        confidence=config.verdict.confidence,
        target=config.verdict.target,
    )
    return judged, directory.main(size, mixtures[0], config.seed).stage()["parameters"]
