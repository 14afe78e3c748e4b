"""What a repeat to the byte costs on this GPU: measured once for each model and micro-batch, and recorded.

The figure is kept for the device, and any run there takes it. Before its first training a run records what it took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from doremi.config import TrainingConfig
from doremi.corpus.value import Corpus
from doremi.model.build import TokenLosses, build
from doremi.pipeline import measured
from doremi.pipeline.sharded import splits
from doremi.pipeline.workspace import Workspace
from doremi.rundir import costs
from doremi.rundir.context import Context
from doremi.rundir.known import Known
from doremi.rundir.machine import Machine
from doremi.rundir.weights import shape_of
from doremi.training import determinism
from doremi.training.loop import forward_pass
from doremi.training.memory import free_memory

CODE = ("model", "training")
"""Packages whose code the passes run."""


def with_order_cost(space: Workspace, corpus: Corpus, known: Known, machine: Machine) -> Machine:
    """The machine's facts with the cost, where `training.deterministic: auto` asks for it and nobody has measured it.

    Where the GPU has too little memory for the trial, nothing is known; nor of a model that is split over processes.
    """
    settings = Context(space.config, replace(known, machine=machine)).settings
    if machine.device != "cuda" or space.config.training.deterministic != "auto":
        return machine
    if settings is None or splits(settings, space.world):
        return machine
    before = known.machine
    if before is not None and before.deterministic_cost is not None and before.device_memory == machine.device_memory:
        return replace(machine, deterministic_cost=before.deterministic_cost)
    found = _measured_once(space, corpus, settings)
    return machine if found is None else replace(machine, deterministic_cost=found)


def _measured_once(space: Workspace, corpus: Corpus, settings: TrainingConfig) -> float | None:
    """The cost, from an earlier run on this device or measured now; None where the trial does not fit its memory."""
    asked = _asked(space, corpus, settings)
    if (held := measured.read(asked, CODE)) is not None and isinstance(cost := held.answer.get("cost"), float):
        space.watch.say(f"what a repeat to the byte costs here was measured on {held.day}")
        return cost
    space.watch.say("measuring what a repeat to the byte costs here ...")
    try:
        found = round(determinism.cost(proxy_step(space, corpus, settings), space.world.device), 4)
    except torch.OutOfMemoryError:
        return None
    finally:
        free_memory()
    measured.write(asked, CODE, {"cost": found})
    return found


def _asked(space: Workspace, corpus: Corpus, settings: TrainingConfig) -> list[Any]:
    """All that the cost depends on beside the device, the versions and the code."""
    return [
        "cost of an order", shape_of(space.config, None), corpus.tokenizer.vocab_size,
        space.config.data.sequence_length, _rows(space, settings), settings.precision, settings.compile,
    ]  # fmt: skip


def _rows(space: Workspace, settings: TrainingConfig) -> int:
    """Sequences of a micro-batch of one process."""
    return max(1, costs.micro_batch_rows(settings) // space.world.size)


def proxy_step(space: Workspace, corpus: Corpus, settings: TrainingConfig) -> Callable[[], object]:
    """Forward and backward passes of a micro-batch of the proxy's model, on random tokens, as a training does them."""
    device, length, vocab_size = space.world.device, space.config.data.sequence_length, corpus.tokenizer.vocab_size
    lm = build(shape_of(space.config, None), vocab_size, length, corpus.tokenizer.end_of_text_id)
    model = TokenLosses(lm, length).to(device).train()
    forward = forward_pass(model, settings, device)
    tokens_BT = torch.randint(vocab_size, (_rows(space, settings), length + 1), device=device)

    def step() -> None:
        forward(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean().backward()
        model.zero_grad()

    return step
