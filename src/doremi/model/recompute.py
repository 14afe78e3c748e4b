"""Activations that are computed again in the backward pass, and not kept until then.

A block is computed again from its input: of all blocks only these inputs are kept, and of one block at a time the rest.
That takes a forward pass more. With attention alone it takes less, and saves less. The numbers are the same to the last
bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import torch
from torch import nn

from doremi.distributed import blocks
from doremi.errors import ConfigError

Recomputed = Literal["none", "attention", "block"]


def parts(lm: nn.Module, what: Recomputed) -> list[nn.Module]:
    """The modules of a causal LM that are computed again."""
    if what == "none":
        return []
    return blocks(lm) if what == "block" else attentions(lm)


def attentions(lm: nn.Module) -> list[nn.Module]:
    """The outermost modules that are attention by name and have parameters, those of blocks only."""
    found: list[nn.Module] = []
    for block in blocks(lm):
        inside: set[int] = set()
        for module in block.modules():
            if id(module) in inside or module is block or not _is_attention(module):
                continue
            found.append(module)
            inside |= {id(inner) for inner in module.modules()}
    return found


def _is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower() and next(module.parameters(), None) is not None


def recompute(lm: Any, what: Recomputed) -> None:
    """Let parts of a model be computed again; `ConfigError` for one whose blocks are not known."""
    found = parts(lm, what)
    if what != "none" and not found:
        raise ConfigError(
            f"training.recompute: {lm.config.model_type} does not say which of its modules are its blocks; set none"
        )
    for module in found:
        module.forward = _again(module.forward)  # inside of hooks, such as those that gather a block's parameters


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    @wraps(forward)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return recomputed
