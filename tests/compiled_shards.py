"""Steps of a split and compiled model, under `torchrun`: `tests/compiled_shards.py OUT`. OUT is what `steps` gives.

Each process has its rows of the batch. With one process and without the compiler the numbers are the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch._dynamo.utils import counters

from doremi import distributed
from doremi.config import TrainingConfig
from doremi.distributed import Shards, World, is_sharded
from doremi.model.build import TokenLosses, build, eval_mode
from doremi.model.presets import shape
from doremi.training.loop import forward_pass
from doremi.training.optimizer import make_optimizer

VOCAB, LENGTH, ROWS, STEPS = 64, 16, 4, 5


def steps(world: World, *, layers: int, compiled: bool) -> dict[str, Any]:
    """Mean losses of steps and of an evaluation, the sum of all numbers of the model, and what the compiler made."""
    torch.manual_seed(0)
    lm = build({**shape("0.1m", None, {}), "num_hidden_layers": layers}, VOCAB, LENGTH, 0)
    model = TokenLosses(lm, LENGTH)
    if world.size > 1:
        model = world.shard(model, Shards("float32"))
    settings = TrainingConfig(precision="float32", compile=compiled, learning_rate=1e-2)
    forward, optimizer = forward_pass(model, settings, world.device), make_optimizer(model, settings)
    losses = []
    for step in range(STEPS):
        tokens_BT = torch.randint(VOCAB, (ROWS, LENGTH), generator=torch.Generator().manual_seed(step))
        mine_BT = tokens_BT[world.rank :: world.size]
        loss = forward(mine_BT, mine_BT.flip(1)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(world.sum(loss.detach())) / world.size)
    with eval_mode(model), torch.no_grad():
        losses.append(float(forward(tokens_BT, tokens_BT).mean()))
    whole = world.whole(dict(model.named_parameters()))
    assert is_sharded(model) == (world.size > 1)
    return {
        "losses": losses,
        "parameters": {name: float(tensor.double().norm()) for name, tensor in whole.items()},
        "graphs": counters["stats"]["unique_graphs"],
        "eager": model.eager_calls,
    }


if __name__ == "__main__":
    here = distributed.start()
    found = steps(here, layers=3, compiled=True)
    if here.is_main:
        Path(sys.argv[1]).write_text(json.dumps(found))
    distributed.stop()
