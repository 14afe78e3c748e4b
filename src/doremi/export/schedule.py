"""Weights that change along a training: stages from a file, or from the path that the proxies' weights took.

    tokens_per_step: 4M                    of the final run; needed by trainers that count steps
    stages:
    - {start: 0, mixture: doremi}          a mixture of the run, or a file
    - {start: 0.8, weights: {web: 0.2, code: 0.8}}

`start` is the share of the budget that comes before. `steps:4` instead of a file cuts the path of the run's own search
into four stages of one length, `changes:4` where its weights change most: the four constant pieces that are nearest to
it in squares. Tokens of a step may follow, as in `changes:4:4M`. Trainers that take no stages get the average, which is
that of the whole budget.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doremi.config.safe_yaml import parse
from doremi.corpus.value import Corpus
from doremi.errors import ExportError, MixtureError, one_line, reason_of
from doremi.export.blend import Blend, Stage
from doremi.export.mapping import Count, tokens_given
from doremi.export.rounding import round_to_one
from doremi.mixture.domains import Mixture
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import nodes_of

MOST_POINTS = 400  # of a path, for its points of change: their search takes the square of it
Weighted = tuple[Fraction, Mapping[str, float]]
"""Where a stage starts, and its weights by domain."""


class _StageEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    start: Annotated[float, Field(ge=0, lt=1)]
    mixture: str | None = None
    weights: dict[str, float] | None = None


class _ScheduleFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens_per_step: Count | None = None
    stages: Annotated[list[_StageEntry], Field(min_length=1)]


Schedule = tuple[list[Weighted], int | None]


def read_schedule(text: str, run: RunDirectory, corpus: Corpus, named: Callable[[str], Mixture]) -> Schedule:
    """The stages that `--schedule` means, and the tokens of a step where the file says them; `ExportError` else."""
    own = re.fullmatch(r"(steps|changes):([1-9]\d{0,3})(?::(.+))?", text)
    if own is not None:
        stages = _of_search(run, list(corpus.domains), int(own[2]), at_changes=own[1] == "changes")
        return stages, None if own[3] is None else tokens_given("--schedule", own[3])
    path = Path(text)
    try:
        value = _ScheduleFile.model_validate(parse(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else reason_of(error)
        raise ExportError(one_line(f"{path}: is no schedule ({reason}); give a file, steps:N or changes:N")) from None
    starts = [stage.start for stage in value.stages]
    if starts[0] != 0 or starts != sorted(set(starts)):
        raise ExportError(f"{path}: stages should start at 0 and then later and later (given: {starts})")
    stages = [(Fraction(repr(one.start)), _weights(path, one, corpus, named)) for one in value.stages]
    return stages, value.tokens_per_step


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"


def _weights(path: Path, stage: _StageEntry, corpus: Corpus, named: Callable[[str], Mixture]) -> Mapping[str, float]:
    if (stage.mixture is None) == (stage.weights is None):
        raise ExportError(f"{path}: the stage at {stage.start} needs one of mixture and weights")
    try:
        mixture = Mixture(stage.weights) if stage.weights is not None else named(stage.mixture or "")
        mixture.aligned(corpus.domains)
    except MixtureError as error:
        raise MixtureError(f"{path}: the stage at {stage.start}: {error}") from None
    return mixture.weights


def with_stages(blend: Blend, schedule: Schedule) -> Blend:
    """The blend with its stages, and with the average of their weights in place of its own."""
    stages, step_tokens = schedule
    ends = [*(start for start, _ in stages[1:]), Fraction(1)]
    parts = [end - start for (start, _), end in zip(stages, ends, strict=True)]
    names = [domain.name for domain in blend.domains]
    average = [sum(part * Fraction(w[name]) for part, (_, w) in zip(parts, stages, strict=True)) for name in names]
    made = tuple(
        Stage(start, _reweighed(blend, [Fraction(weights[name]) for name in names], part))
        for (start, weights), part in zip(stages, parts, strict=True)
    )
    whole = _reweighed(blend, average, Fraction(1))
    note = "weights change along the training, and the table has their average; no model was trained so in this run"
    return replace(whole, stages=made, step_tokens=step_tokens).noted(note)


def _reweighed(blend: Blend, weights: Sequence[Fraction | int], part: Fraction) -> Blend:
    """With other weights, over a part of the budget."""
    budget = round(blend.budget_tokens * part)
    domains = (replace(d, weight=w, budget=budget) for d, w in zip(blend.domains, round_to_one(weights), strict=True))
    return replace(blend, domains=tuple(domains))


def stage_steps(blend: Blend, *, step: int, first: int) -> Iterator[tuple[int, Blend]]:
    """Each stage with the training step that it starts at, counted from `first`; without a schedule the whole blend.

    Starts are multiples of `step` but for `first`. `ExportError` where the tokens of a step are not known, or two
    stages would start at the same one.
    """
    if not blend.stages:
        yield first, blend
        return
    starts = stage_starts(blend, step)
    if len(set(starts)) < len(starts):
        raise ExportError(f"two stages would start at the same step: {starts}; take fewer stages")
    yield from ((start + first, stage.blend) for start, stage in zip(starts, blend.stages, strict=True))


def stage_starts(blend: Blend, step: int) -> list[int]:
    """The steps before each stage, as multiples of `step`."""
    if blend.step_tokens is None:
        raise ExportError(
            "this trainer counts stages in steps: give tokens_per_step in the schedule, "
            "or steps:4:4M for steps of 4M tokens"
        )
    return [round(stage.start * blend.budget_tokens / blend.step_tokens / step) * step for stage in blend.stages]


# -- the path of a search ----------------------------------------------------------------------------------------------


def _of_search(run: RunDirectory, names: list[str], count: int, *, at_changes: bool) -> list[Weighted]:
    """Stages along the weights of the proxies that finished, averaged over seeds."""
    path_TK = _path(run, len(names))
    if len(path_TK) < count:
        raise ExportError(f"{run.root}: the search has {len(path_TK)} steps with weights, too few for {count} stages")
    cuts = _changes(path_TK, count) if at_changes else [len(path_TK) * i // count for i in range(count)]
    ends = [*cuts[1:], len(path_TK)]
    means = [path_TK[start:end].mean(axis=0) for start, end in zip(cuts, ends, strict=True)]
    return [
        (Fraction(start, len(path_TK)), dict(zip(names, map(float, mean), strict=True)))
        for start, mean in zip(cuts, means, strict=True)
    ]


def _path(run: RunDirectory, domains: int) -> np.ndarray:
    nodes = nodes_of(run)
    proxies = [] if nodes is None else [run.training(node) for node in nodes.find("proxy")]
    traces = [folder.trace().get("weights") for folder in proxies if folder is not None and folder.finished]
    paths = [trace for trace in traces if trace is not None and trace.shape[1] == domains and len(trace)]
    if not paths:
        raise ExportError(f"{run.root}: no finished proxy has weights along its training; give a schedule file")
    steps = min(map(len, paths))
    return np.stack([path[:steps] for path in paths]).astype(np.float64).mean(axis=0)


def _changes(path_TK: np.ndarray, count: int) -> list[int]:
    """Where the `count` constant pieces start that are nearest to the path, by dynamic programming.

    A long path is thinned to `MOST_POINTS` first, so a start is exact to one part in that.
    """
    points = np.unique(np.linspace(0, len(path_TK), min(len(path_TK), MOST_POINTS) + 1).astype(int))
    sums = np.vstack([np.zeros(path_TK.shape[1]), np.cumsum(path_TK, axis=0)])[points]
    squares = np.concatenate([[0.0], np.cumsum((path_TK**2).sum(axis=1))])[points]
    length = points[None, :] - points[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = ((sums[None, :] - sums[:, None]) ** 2).sum(axis=2) / length
        cost = np.where(length > 0, squares[None, :] - squares[:, None] - between, np.inf)
    best, chosen = cost[0], []
    for _ in range(count - 1):
        total = best[:, None] + cost
        chosen.append(total.argmin(axis=0))
        best = total.min(axis=0)
    cuts, end = [], len(points) - 1
    for before in reversed(chosen):
        end = int(before[end])
        cuts.append(int(points[end]))
    return [0, *reversed(cuts)]
