"""Deep models are compiled block by block: one graph for all blocks, the numbers of the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from compiled_shards import steps
from doremi.distributed import World
from doremi.model import build as models
from doremi.model import losses
from doremi.model.build import TokenLosses, build, eval_mode
from doremi.model.presets import shape
from doremi.model.recompute import recompute
from doremi.training import compiling
from tolerances import BFLOAT16, FLOAT32, GRADIENT

VOCAB, LENGTH = 64, 16
DEPTH = {"llama": "num_hidden_layers", "gpt2": "n_layer"}
SHAPES = {
    "llama": shape("0.1m", None, {}), "gpt2": shape("70m", None, {"n_embd": 32, "n_inner": 64, "n_head": 2}),
}  # fmt: skip


def model(family: str, layers: int) -> TokenLosses:
    torch.manual_seed(0)
    return TokenLosses(build({**SHAPES[family], DEPTH[family]: layers}, VOCAB, LENGTH, 0), LENGTH)


class Deep(torch.nn.Module):
    """As transformers names blocks."""

    _no_split_modules = ("Linear",)

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(layers))


def test_deep_models_on_a_gpu_and_models_in_shards_go_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compiling.by_block(Deep(24))  # on a CPU
    monkeypatch.setattr(compiling, "BLOCKS_ON", ("cpu",))
    assert [compiling.by_block(Deep(layers)) for layers in (2, 8, 9, 24)] == [False, False, True, True]
    monkeypatch.setattr(compiling, "is_sharded", lambda _: True)
    assert compiling.by_block(Deep(2))
    assert not compiling.by_block(torch.nn.Linear(2, 2))  # a model that names no blocks is one graph


def passes(module: TokenLosses, forward: Callable[..., Tensor], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Losses and gradients of two steps, and losses of an evaluation."""
    tokens_BT = torch.randint(VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        forward(tokens_BT, tokens_BT.flip(1)).sum().backward()
        loss_BT = forward(tokens_BT, tokens_BT.flip(1))
        loss_BT.sum().backward()
        with eval_mode(module), torch.no_grad():
            evaluated_BT = forward(tokens_BT, tokens_BT)
    return loss_BT.detach(), torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]), (
        evaluated_BT
    )  # fmt: skip


def compiled(module: TokenLosses, whole_layers: int, dtype: torch.dtype, patch: pytest.MonkeyPatch) -> Any:
    """What a compiled model gives, and how many graphs it took."""
    torch.compiler.reset()
    counters.clear()
    losses._called.cache_clear()
    patch.setattr(compiling, "WHOLE_LAYERS", whole_layers)
    patch.setattr(compiling, "BLOCKS_ON", ("cpu",))
    found = passes(module, compiling.compiled(module, graphs=False), dtype)
    assert not counters["graph_break"] or whole_layers
    assert module.eager_calls == 0
    return found, counters["stats"]["unique_graphs"]


@pytest.mark.slow  # the compiler takes seconds
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
@pytest.mark.parametrize(
    ("family", "again", "limit", "dtype"),
    [
        ("llama", "block", None, torch.float32), ("gpt2", "attention", None, torch.float32),
        ("llama", "none", None, torch.bfloat16), ("llama", "none", 0, torch.bfloat16),
    ],
)  # fmt: skip
def test_the_number_of_graphs_does_not_grow_with_depth(
    family: str, again: Any, limit: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `limit` 0 the head goes in chunks, which have graphs of their own. Numbers are those of the whole."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(models, "CHUNK_TOKENS", 8)
    if limit is not None:
        monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", limit)
    numbers = []
    for layers in (2, 12):
        in_blocks, whole, eager = (model(family, layers) for _ in range(3))
        for one in (in_blocks, whole):
            recompute(one.lm, again)
        by_block, graphs = compiled(in_blocks, 0, dtype, monkeypatch)
        at_once, _ = compiled(whole, layers, dtype, monkeypatch) if layers == 2 else (by_block, 0)
        numbers.append(graphs)
        for mine, theirs, plain in zip(by_block, at_once, passes(eager, eager, dtype), strict=True):
            bound = BFLOAT16 if dtype == torch.bfloat16 else max(FLOAT32, GRADIENT)
            assert (mine - theirs).norm() <= bound * theirs.norm()
            assert (mine - plain).norm() <= bound * plain.norm() * (layers if dtype == torch.bfloat16 else 1)
    assert numbers[0] == numbers[1]
    assert numbers[0] <= 5


@pytest.mark.slow
def test_a_split_and_compiled_model_has_the_numbers_of_one_process(tmp_path: Path) -> None:
    """Two processes over gloo, by the real compiler. Graphs are a block's and the losses', in training and not."""
    script = Path(__file__).resolve().parent / "compiled_shards.py"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        [*words, str(tmp_path / "out.json")], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "out.json").read_text())
    alone = steps(World(0, 1, torch.device("cpu")), layers=3, compiled=False)
    assert found["losses"] == pytest.approx(alone["losses"], rel=GRADIENT)
    assert found["parameters"] == pytest.approx(alone["parameters"], rel=GRADIENT)
    assert (found["graphs"], found["eager"]) == (4, 0)
