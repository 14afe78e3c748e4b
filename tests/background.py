"""A split model saved at once and in the background, under `torchrun`: `tests/background.py FOLDER`.

While the second is written, the weights move and processes agree on other things, as in a training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from doremi import distributed
from doremi.distributed import Shards
from doremi.model.build import TokenLosses, build
from doremi.model.presets import shape
from doremi.training import checkpoint


def main(folder: Path) -> None:
    world = distributed.start()
    torch.manual_seed(0)
    module = world.shard(TokenLosses(build(shape("0.1m", None, {}), 64, 16, 0), 16), Shards("float32"))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    tokens_BT = torch.arange(16)[None]

    def step() -> None:
        module(tokens_BT, tokens_BT).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    tensors = checkpoint.training_tensors(module, optimizer, world.device)
    checkpoint.save(folder / "at once", 1, tensors, {"key": "k"}, world, sharded=True)
    saving = checkpoint.begin(folder / "background", 1, tensors, {"key": "k"}, world, sharded=True)
    for _ in range(20):
        step()
        world.any(False)
    saving.publish()
    distributed.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
