"""How far bfloat16 rounds apart where a model is split, and where each process has a copy.

    torchrun --standalone --nproc-per-node 2 benchmarks/split_rounding.py [--preset 0.3m] [--steps 100]

Trains the same model on the same tokens in float32 and in bfloat16, with `ddp` and with `fsdp`. Prints the loss of the
first step, the mean of the last ten, and the largest distance of any step from float32 with `ddp`.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from doremi import distributed
from doremi.config import TrainingConfig
from doremi.distributed import Shards, World, is_sharded
from doremi.model.build import TokenLosses, build
from doremi.model.presets import shape
from doremi.pipeline.sharded import build_sharded
from doremi.training.loop import forward_pass, learning_rate
from doremi.training.optimizer import make_optimizer

VOCABULARY, LENGTH, ROWS = 512, 64, 8


def tokens(step: int, rank: int) -> Tensor:
    """Of a chain in which the next token is one of four, `[ROWS, LENGTH + 1]`."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    block_BT = torch.randint(VOCABULARY, (ROWS, LENGTH + 1), generator=generator)
    for place in range(1, LENGTH + 1):
        block_BT[:, place] = (5 * block_BT[:, place - 1] + block_BT[:, place] % 4) % VOCABULARY
    return block_BT


def model(preset: str, settings: TrainingConfig, world: World) -> TokenLosses:
    torch.manual_seed(0)

    def make() -> nn.Module:
        return build(shape(preset, None, {}), VOCABULARY, LENGTH, 0)

    if settings.parallel == "fsdp" and world.size > 1:
        return build_sharded(make, LENGTH, 1.0, Shards(settings.precision), world)
    return TokenLosses(make(), LENGTH).to(world.device)


def losses(preset: str, settings: TrainingConfig, world: World) -> Tensor:
    """Mean loss of each step over all processes, float64."""
    module = model(preset, settings, world).train()
    wrapped, found = world.wrap(module), []
    forward, optimizer = forward_pass(wrapped, settings, world.device), make_optimizer(module, settings)
    for step in range(1, settings.steps + 1):
        block_BT = tokens(step, world.rank).to(world.device)
        loss = forward(block_BT[:, :-1], block_BT[:, 1:]).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), settings.gradient_clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        optimizer.step()
        optimizer.zero_grad()
        found.append(world.sum(loss.detach().double()) / world.size)
    assert is_sharded(module) == (settings.parallel == "fsdp" and world.size > 1)
    return torch.stack(found).cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="0.3m")
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    world, exact = distributed.start(), None
    for precision in ("float32", "bfloat16"):
        for parallel in ("ddp", "fsdp"):
            values = {"steps": asked.steps, "precision": precision, "parallel": parallel, "learning_rate": 3e-3}
            settings = TrainingConfig.model_validate({**values, "compile": False})
            found = losses(asked.preset, settings, world)
            exact = found if exact is None else exact
            if world.is_main:
                last, apart = float(found[-10:].mean()), float((found - exact).abs().max())
                print(
                    f"{precision} {parallel}: first {found[0]:.6f}, last ten {last:.6f}, apart {apart:.6f}", flush=True
                )
    distributed.stop()


if __name__ == "__main__":
    main()
