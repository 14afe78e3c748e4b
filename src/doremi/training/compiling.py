"""What the compiler is given, and what it is told.

One code object serves every size of model and every kind of pass, and the compiler keeps a graph for each. Its own
limit of eight would be reached by the fifth size of a process. What it made is kept in the user's cache folder, so
that a later run finds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

from doremi.files import cache_folder

Given = ParamSpec("Given")
Result = TypeVar("Result")

CUDA_GRAPHS = False
"""Whether a GPU is given a whole forward or backward pass at once, where a training allows it (`with_graphs`)."""
COMPILE_SUMS = True
"""Whether the sums of a step are compiled too, on a GPU."""
GRAPHS_KEPT = 64
"""Of one code object: sizes of models x (training, evaluation, live reference, kept losses)."""
CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compiled(model: nn.Module, *, graphs: bool) -> Callable[..., Any]:
    """`model` compiled for static shapes; with `graphs`, as CUDA graphs."""
    prepare()
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if graphs else None)


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
