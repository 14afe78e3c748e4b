"""Floating-point operations and memory of a model, counted by running it on tensors without data.

What is counted are matrix products, attention's among them (a multiplication and an addition are two operations), by
PyTorch's own counter: exact for any architecture whose computations do not depend on the text, where the rule of thumb
6 x parameters x tokens leaves attention out and counts embeddings that are only looked up. Nothing is computed and no
memory is taken.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from doremi.distributed import blocks
from doremi.errors import ConfigError
from doremi.model.build import build
from doremi.model.recompute import attentions


@dataclass(frozen=True)
class Operations:
    """Of one sequence: its losses alone, and its losses with their gradients."""

    forward: int
    training: int
    saved: int
    """Bytes that the forward pass leaves for the backward pass, in float32."""
    scores: int
    """Of these, attention's scores of all pairs of tokens, which fused attention does not keep."""
    layers: int
    """Blocks, as the model itself names them; 0 where it does not."""
    in_blocks: int
    """Of what is saved without the scores, that inside of blocks; `in_attention` is the part inside of attention."""
    in_attention: int
    between: int
    """Bytes of the hidden states that all blocks get."""


def of_model(description: Mapping[str, Any], vocab_size: int, sequence_length: int) -> Operations:
    """Operations a sequence of the model that `description` (see `model.shape`) builds; `ConfigError` if none can."""
    return _counted(json.dumps(description, sort_keys=True), vocab_size, sequence_length)


@cache
def _counted(description: str, vocab_size: int, sequence_length: int) -> Operations:
    with torch.device("meta"):
        lm = build(json.loads(description), vocab_size, sequence_length, 0)
        tokens_BT = torch.zeros(1, sequence_length, dtype=torch.int64)
        mask_B1TT = torch.zeros(1, 1, sequence_length, sequence_length)
    if lm._can_set_experts_implementation():
        lm.set_experts_implementation("batched_mm")  # the same products; others look at which expert a token has
    # some models look at the positions' values, which are not there, unless they are given a mask; others take none
    for more in ({"attention_mask": mask_B1TT}, {}):
        saved = _Saved(lm, sequence_length)
        with contextlib.suppress(Exception), FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(saved.note, lambda tensor: tensor):
                logits_BTV = lm(input_ids=tokens_BT, use_cache=False, **more).logits
            forward = counter.get_total_flops()
            logits_BTV.sum().backward()
            return saved.operations(forward, counter.get_total_flops())
    raise ConfigError(
        f"model: the operations of {lm.config.model_type} cannot be counted, for its computations depend on the text; "
        "`doremi plan` and candidates.equal_compute need them, other commands do not"
    )


class _Saved:
    """Bytes of what is kept for a backward pass, each storage once; parameters are there anyway."""

    def __init__(self, lm: Any, sequence_length: int) -> None:
        self.length = sequence_length
        self.own = {tensor.untyped_storage()._cdata for tensor in (*lm.parameters(), *lm.buffers())}
        self.bytes: dict[int, int] = {}
        self.scores: dict[int, int] = {}
        self.inside: dict[str, dict[int, int]] = {"block": {}, "attention": {}}
        self.now: list[str] = []
        """What is being computed, from the outside in."""
        self.layers = self.between = 0
        self.hooks = [
            hook
            for what, modules in (("block", blocks(lm)), ("attention", attentions(lm)))
            for module in modules
            for hook in self._watch(module, what)
        ]

    def _watch(self, module: torch.nn.Module, what: str) -> list[RemovableHandle]:
        def entered(_: Any, args: Any, kwargs: Any) -> None:
            self.now.append(what)
            if what == "block":
                given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
                self.layers += 1
                self.between += max((t.nbytes for t in given if t.ndim == 3 and t.is_floating_point()), default=0)

        def left(*_: Any) -> None:
            self.now.pop()

        return [module.register_forward_pre_hook(entered, with_kwargs=True), module.register_forward_hook(left)]

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata in self.own:
            return tensor
        self.bytes[storage._cdata] = storage.nbytes()
        if tensor.ndim > 2 and tensor.shape[-2:] == (self.length, self.length):
            self.scores[storage._cdata] = storage.nbytes()
        for what in self.now:
            self.inside[what][storage._cdata] = storage.nbytes()
        return tensor

    def operations(self, forward: int, training: int) -> Operations:
        """All that was counted; the model is left as it was."""
        for hook in self.hooks:
            hook.remove()
        inside = {
            what: sum(size for number, size in found.items() if number not in self.scores)
            for what, found in self.inside.items()
        }
        return Operations(
            forward, training, sum(self.bytes.values()), sum(self.scores.values()),
            self.layers, inside["block"], inside["attention"], self.between,
        )  # fmt: skip
