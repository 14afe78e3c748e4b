"""Seconds and memory of a training on a GPU by arithmetic, for an answer at once; or as this run's own have taken.

A step takes the longer of two times, and a while to be launched: its operations at a share of the data sheet's rate,
and its passes over memory at a share of the bandwidth. That is a guess within a factor of two or so. What a finished
training of the same kind and size has taken is better, and `doremi plan --measure` is best.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from doremi.corpus.value import Corpus
from doremi.files import json_lines
from doremi.plan.calibration import Measured
from doremi.plan.stages import Stage
from doremi.rundir import costs
from doremi.rundir.known import Counts
from doremi.rundir.memory import CHECKPOINT_BYTES, Work, held, logit_bytes, saves_in_background
from doremi.rundir.specs import TrainingSpec
from doremi.training.compiling import WHOLE_LAYERS
from doremi.training.peak import bytes_a_second, operations_a_second
from doremi.training.save_times import expected as expected_saves

SHARE = 0.35  # of the data sheet's operations; good trainings have 0.2 to 0.5 (Chowdhery et al. 2022, table 3)
FLOAT32 = 1 / 15  # of the rate in bfloat16
BANDWIDTH_SHARE = 0.6
PASSES = 3  # over what lies between forward and backward pass: written, read, and its gradient
LOGIT_PASSES = 6
STATE_PASSES = 8  # over each parameter, in numbers of four bytes: gradient, its norm, two moments, itself
LAUNCH_SECONDS = 0.004  # of a step, at least
LOADING_SECONDS, START_SECONDS = 10.0, 2.0
COMPILE_SECONDS, COMPILE_A_LAYER = 12.0, 2.0  # of each kind of pass; what has no graph of its own a layer has the first
DISK, COPY = 0.7e9, 10e9  # bytes a second, of what is written and hashed, and of what is copied to the host


def estimated(spec: TrainingSpec, corpus: Corpus, counts: Counts, card: str) -> Measured | None:
    """Of one training on a GPU with this name; None where the data sheet or the model's operations are not known."""
    peak, bandwidth = operations_a_second(card), bytes_a_second(card)
    found = costs.of_training(spec, corpus, counts).operations
    work = Work(counts, logit_bytes(spec.sequence_length, corpus.tokenizer.vocab_size), _is_live(spec))
    memory = held(spec.settings, work, 1)
    if peak is None or bandwidth is None or found is None or memory is None or counts.forward is None:
        return None
    settings, length = spec.settings, spec.sequence_length
    rate = peak * SHARE * (1.0 if settings.precision == "bfloat16" else FLOAT32)
    speed = bandwidth * BANDWIDTH_SHARE

    def forward(rows: int) -> float:
        return LAUNCH_SECONDS / 3 + rows * ((counts.forward or 0) / rate + 2 * work.logit_bytes / speed)

    rows = costs.evaluation_rows(length, spec.device_memory)
    batches = costs.evaluations(settings) * costs.evaluation_batches(corpus, length, spec.device_memory)
    passed = PASSES * memory.activations * int(settings.accumulation)
    passed += LOGIT_PASSES * settings.batch_size * work.logit_bytes + 4 * STATE_PASSES * counts.parameters
    saved = CHECKPOINT_BYTES[settings.optimizer] * counts.parameters
    waited = saved / COPY if saves_in_background("cuda", saved) else saved / DISK
    return Measured(
        loading=LOADING_SECONDS,
        once=_compiling(spec, counts),
        start=START_SECONDS + 4 * counts.parameters / DISK,
        step=LAUNCH_SECONDS * int(settings.accumulation)
        + max((found - batches * rows * counts.forward) / settings.steps / rate, passed / speed),
        evaluation=forward(rows),
        saving=waited,
        losses=forward(costs.losses_rows(settings, length, spec.device_memory)),
        memory=memory.total,
    )


def _is_live(spec: TrainingSpec) -> bool:
    return spec.scoring is not None and spec.scoring.losses == "live"


def _compiling(spec: TrainingSpec, counts: Counts) -> float:
    """Seconds before the first step and the first evaluation; a live reference has a graph of its own."""
    if spec.settings.compile is not True:
        return 0.0
    layers = counts.layers or 0
    alone = layers if layers <= WHOLE_LAYERS else 0
    return (2 + _is_live(spec)) * (COMPILE_SECONDS + COMPILE_A_LAYER * alone)


def as_taken(found: Measured, stages: Sequence[Stage], root: Path) -> Measured | None:
    """The same by what finished trainings have taken; None where none has ended without a break.

    What is known is the whole of a training, so that all parts are stretched alike.
    """
    entries = [one for one in json_lines(root / "timings.jsonl") if "from_step" not in one]
    took = {(one.get("stage"), one.get("tokens")): float(one["seconds"]) for one in entries}
    factors = [
        seconds / _whole(found, stage)
        for stage in stages
        for node in stage.nodes
        if (seconds := took.get((node.id, stage.tokens // stage.number))) is not None
    ]
    if not factors:
        return None
    factor = statistics.median(factors)
    parts = {name: factor * getattr(found, name) for name in ("start", "step", "evaluation", "saving", "losses")}
    return replace(found, **parts, once=0.0)


def _whole(found: Measured, stage: Stage) -> float:
    """Seconds of one training of a stage, but for what is paid once."""
    each = stage.each
    steps = each.steps * found.step
    saves = expected_saves(each.checkpoint_every, each.steps, steps)
    return found.start + steps + saves * found.saving + each.evaluation_batches * found.evaluation
