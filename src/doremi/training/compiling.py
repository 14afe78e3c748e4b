"""What the compiler is given, and what it is told.

A shallow model is one graph, in which kernels are fused over its blocks. Of a deep one on a GPU, or one in shards, each
block is compiled by itself. Blocks are alike, so that they share a graph, and the warm-up does not grow with depth.

One code object serves every size of model and every kind of pass, and the compiler keeps a graph for each. Its own
limit of eight would be reached by the fifth size of a process. What it made is kept in the user's cache folder, so
that a later run finds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from doremi.distributed import blocks, is_sharded
from doremi.files import cache_folder
from doremi.model.build import TokenLosses

Given = ParamSpec("Given")
Result = TypeVar("Result")

CUDA_GRAPHS = False
"""Whether a GPU is given a whole forward or backward pass at once, where a training allows it (`with_graphs`)."""
COMPILE_SUMS = True
"""Whether the sums of a step are compiled too, on a GPU."""
GRAPHS_KEPT = 64
"""Of one code object: sizes of models x (training, evaluation, live reference, kept losses)."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"
WHOLE_LAYERS = 8
"""Blocks of a model that is compiled as a whole, at most: small models gain most by kernels over several blocks, and
wait least for the compiler. No GPU has shown yet where one outweighs the other (benchmarks/first_card.py, step 3)."""
BLOCKS_ON = ("cuda",)
"""Devices on which deeper models go by block. On a CPU their steps then take a sixth longer, for half of the warm-up,
and only long trainings are compiled there (docs/scaling.md)."""


def by_block(model: nn.Module) -> bool:
    """Whether each block is compiled by itself.

    One in shards always is: its parameters are gathered block by block, which no graph can hold.
    """
    number = len(blocks(model))
    if is_sharded(model):
        return number > 0
    return number > WHOLE_LAYERS and next(model.parameters()).device.type in BLOCKS_ON


def compiled(model: nn.Module, *, graphs: bool) -> Callable[..., Any]:
    """A `TokenLosses`, wrapped or not, compiled for static shapes; with `graphs`, as CUDA graphs."""
    prepare()
    if not by_block(model):
        return torch.compile(model, dynamic=False, mode="reduce-overhead" if graphs else None)
    losses = next(part for part in model.modules() if isinstance(part, TokenLosses))
    if not losses.in_parts:
        losses.in_parts = True
        for block in blocks(losses):  # their forward alone, for what gathers a block's parameters stays outside
            block.forward = torch.compile(_watched(block.forward, losses), dynamic=False)
    return model


def _watched(forward: Callable[..., Any], losses: TokenLosses) -> Callable[..., Any]:
    """`forward` of a block, counted where no compiler sees it."""

    @wraps(forward)
    def called(*args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            losses.eager_calls += 1
        return forward(*args, **kwargs)

    return called


def fused(function: Callable[Given, Result], on: bool) -> Callable[Given, Result]:
    """A function of tensors as few kernels; `function` itself where that is not wanted."""
    if not on:
        return function
    prepare()
    return torch.compile(function, dynamic=False)


def prepare() -> None:
    """Raise the compiler's limit, and name a folder for what it makes, unless the user has."""
    import torch._dynamo.config as dynamo  # takes seconds, and only who compiles needs it

    os.environ.setdefault(CACHE, str(cache_folder() / "compiled"))
    dynamo.recompile_limit = max(dynamo.recompile_limit, GRAPHS_KEPT)


def graphs_skipped() -> int:
    """How often the compiler could not make a CUDA graph where it was asked for one."""
    from torch._dynamo.utils import counters

    return counters["inductor"]["cudagraph_skips"]
