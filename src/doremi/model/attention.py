"""Causal attention without a mask in memory, where a model is found to need none.

PyTorch's attention has its own causal path (`is_causal`), which flash kernels need. Transformers takes it eagerly; but
inside of a compiled graph it may not look at the values of positions, has to expect several documents in a row, and
writes out a mask of `[B, 1, T, T]`; and eagerly on a GPU that look makes the host wait. Our rows are always whole, so
the answer can be had once, before training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

NAME = "doremi_causal"
_FOUND: dict[tuple[str, int], bool] = {}
"""What was found out of a configuration and a length: trying costs two forward passes."""


class _Watched(TorchFunctionMode):
    """Whether all attention inside of it was causal and had no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.unmasked: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            no_mask = len(args) == 3 and kwargs.get("attn_mask") is None
            self.unmasked.append(no_mask and kwargs.get("is_causal") is True)
        return func(*args, **kwargs)


@torch.no_grad()
def _look(lm: Any, sequence_length: int) -> tuple[bool, Tensor]:
    """Whether attention is causal and unmasked throughout, and the hidden states of one row."""
    device = next(lm.parameters()).device
    tokens_BT = torch.arange(sequence_length, device=device)[None] % lm.get_output_embeddings().weight.shape[0]
    with _Watched() as watched:
        hidden_BTD = lm.get_decoder()(input_ids=tokens_BT, use_cache=False)[0]
    return bool(watched.unmasked) and all(watched.unmasked), hidden_BTD


def without_mask(lm: Any, sequence_length: int) -> bool:
    """Let a causal LM (transformers, `sdpa`, in evaluation mode) make no mask for rows of `sequence_length` or shorter.

    That happens only if it uses none anyway, and answers the same, bit by bit, when it can make none: not with windows
    shorter than the row, with biases, or with attention of its own. Returns whether it was done; what is saved of the
    model does not change. Rows must not be padded from then on, and hold one sequence each.
    """
    _register()
    key = (lm.config.to_json_string(use_diff=False), sequence_length)
    if key not in _FOUND:
        _FOUND[key] = _needs_none(lm, sequence_length)
    if _FOUND[key]:
        drop_mask(lm)
    return _FOUND[key]


def drop_mask(lm: Any) -> None:
    """Let a model make no mask, of which it is known that it needs none."""
    _register()
    lm.set_attn_implementation(NAME)


def has_no_mask(lm: Any) -> bool:
    """Whether a model was let to make no mask."""
    return lm.config._attn_implementation == NAME


def _register() -> None:
    from transformers import AttentionInterface

    # under a name of its own: where the library knows no mask for a name, it makes none
    AttentionInterface.register(NAME, AttentionInterface()["sdpa"])


def _needs_none(lm: Any, sequence_length: int) -> bool:
    unmasked, before_BTD = _look(lm, sequence_length)
    if not unmasked:
        return False
    was = lm.config._attn_implementation
    lm.set_attn_implementation(NAME)
    unmasked, after_BTD = _look(lm, sequence_length)
    lm.set_attn_implementation(was)
    return unmasked and torch.equal(before_BTD, after_BTD)
