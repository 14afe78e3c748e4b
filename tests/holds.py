"""What each process holds of a model that is split: `torchrun --nproc-per-node N tests/holds.py PRESET VOCABULARY OUT`.

After two steps each rank writes OUT/<rank>.json: the rise of its memory above imports and an empty process group, and
the bytes of its parts.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import torch

from doremi import distributed
from doremi.config import TrainingConfig
from doremi.distributed import Shards
from doremi.model.build import build
from doremi.model.presets import shape
from doremi.pipeline.sharded import build_sharded
from doremi.training.optimizer import make_optimizer

LENGTH = 16


def held() -> int:
    """Bytes of this process's memory now."""
    gc.collect()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def main(preset: str, vocab_size: int, out: Path) -> None:
    torch.set_num_threads(1)
    world = distributed.start()

    def step(name: str, vocab: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = build_sharded(
            lambda: build(shape(name, None, {}), vocab, LENGTH, 0), LENGTH, 1.0, Shards("float32"), world
        )
        optimizer = make_optimizer(module, TrainingConfig())
        tokens_BT = torch.arange(LENGTH)[None] % vocab
        for _ in range(2):
            module(tokens_BT, tokens_BT).mean().backward()
            optimizer.step()
        return module, optimizer

    step("0.1m", 64)  # what is loaded at a first step
    gc.collect()
    before = held()
    module, optimizer = step(preset, vocab_size)
    local = {name: p.to_local() for name, p in module.named_parameters()}  # type: ignore[operator]
    parts = {"parameters": sum(4 * t.numel() for t in local.values())}
    parts["gradients"] = sum(4 * p.grad.to_local().numel() for p in module.parameters())  # type: ignore[union-attr]
    tensors = [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    parts["optimizer"] = sum(4 * t.to_local().numel() for t in tensors)
    (out / f"{world.rank}.json").write_text(json.dumps({"rise": held() - before, **parts}))
    distributed.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
