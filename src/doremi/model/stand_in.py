"""What must be found out about a model by running it, where no process holds the whole of it.

A stand-in is run: its vectors and small matrices have the model's first values, and of its large matrices all of one
shape are one and the same. It computes what the model computes but for the numbers, and takes the memory of a few
layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from doremi.model import attention
from doremi.model.build import TokenLosses
from doremi.model.parts import LARGE, replace_parameters


@dataclass(frozen=True)
class Tried:
    """What was found out about a model."""

    linear_head: bool
    """Whether its logits are a linear layer of its hidden states."""
    unmasked: bool
    """Whether its attention needs no mask in memory."""

    def apply(self, module: TokenLosses) -> None:
        """Let a model without numbers know."""
        module.linear_head = self.linear_head
        if self.unmasked:
            attention.drop_mask(module.lm)


@dataclass(frozen=True)
class Kept:
    """Of one parameter: the part of this process, and the numbers that a stand-in has in its place."""

    part: Tensor
    like: Tensor | None


class Keeper:
    """Takes of each whole parameter what a process keeps."""

    def __init__(self, part: Callable[[Tensor], Tensor], *, tries: bool) -> None:
        """`tries`: whether this process will run the stand-in."""
        self.part, self.tries = part, tries
        self.by_shape: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, whole: Tensor) -> Kept:
        if not self.tries:
            return Kept(self.part(whole), None)
        shape = tuple(whole.shape)
        if whole.numel() < LARGE:
            return Kept(self.part(whole), whole.clone())
        if shape not in self.by_shape:
            self.by_shape[shape] = whole.clone()
        return Kept(self.part(whole), self.by_shape[shape])


def tried(lm: Any, kept: Mapping[str, Kept], sequence_length: int) -> Tried:
    """Run the stand-in of a model on the meta device; `ConfigError` if the model does not predict."""
    numbers = {id(parameter): kept[name].like for name, parameter in lm.named_parameters()}
    memo: dict[int, Any] = {id(parameter): parameter for parameter in lm.parameters()}
    stand_in = copy.deepcopy(lm, memo)  # the copy has the same empty parameters, and buffers of its own

    def of(parameter: Tensor) -> Tensor:
        found = numbers[id(parameter)]
        assert found is not None
        return found

    replace_parameters(stand_in, of)
    module = TokenLosses(stand_in, sequence_length)
    return Tried(module.linear_head, attention.has_no_mask(stand_in))
