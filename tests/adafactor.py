"""Adafactor over shards beside PyTorch's on whole parameters: `torchrun ... tests/adafactor.py SHARD_SIZE OUT.json`.

OUT.json has the largest difference of any parameter and of what is kept of it, after some steps; with matrices of three
dimensions, fewer rows than processes, and rows that do not divide.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from doremi import distributed
from doremi.distributed import Shards
from doremi.training.adafactor_shards import ShardedAdafactor


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
        self.experts = nn.Parameter(0.3 * torch.randn(5, 3, 4))

    def forward(self, input_BD: Tensor) -> Tensor:
        mixed = torch.einsum("bi,bj,ijk->bk", input_BD, self.layers(input_BD), self.experts)
        return self.layers(input_BD).square().mean() + mixed.square().mean()


PATIENCE = 77.0  # seconds


def trained(module: nn.Module, kind: type[torch.optim.Adafactor]) -> torch.optim.Optimizer:
    parameters = list(module.parameters())
    groups = [
        {"params": [p for p in parameters if (p.ndim > 1) == matrices], "weight_decay": 0.1 * matrices}
        for matrices in (True, False)
    ]
    optimizer = kind(groups, lr=0.05)
    for step in range(5):
        module(torch.randn(6, 5, generator=torch.Generator().manual_seed(step))).backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def main(size: int, out: Path) -> None:
    world = distributed.start(PATIENCE)
    one, split = Small(), world.shard(Small(), Shards("float32", size))
    group = distributed.rows_of(next(split.parameters())).group
    assert group._get_backend(world.device).options._timeout.total_seconds() == PATIENCE  # not PyTorch's own
    kept, shards = trained(one, torch.optim.Adafactor), trained(split, ShardedAdafactor)
    moved = [
        (distributed.plain(b.detach()) - a.detach()).abs().max()
        for a, b in zip(one.parameters(), split.parameters(), strict=True)
    ]
    for a, b in zip(kept.state_dict()["state"].values(), shards.state_dict()["state"].values(), strict=True):
        assert a.keys() == b.keys()
        moved += [(b[name] - a[name]).abs().max() for name in a]
    if world.is_main:
        out.write_text(json.dumps(max(float(one) for one in moved)))
    distributed.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
