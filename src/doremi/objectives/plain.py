"""What an objective is to the training loop, and the plain one."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Objective(Protocol):
    """Turns a global batch's sums into what each token counts; `GroupDRO` and `VariantDRO` are objectives too."""

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor: ...
    def update(self, sums_2K: Tensor) -> Tensor: ...
    def token_weights(self, count_K: Tensor) -> Tensor: ...
    @property
    def average_weights(self) -> Tensor: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class PlainObjective:
    """Ordinary training: nothing is scored, every token counts the same."""

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor:
        raise NotImplementedError("a plain objective scores nothing")

    def update(self, sums_2K: Tensor) -> Tensor:
        raise NotImplementedError("a plain objective has no weights to update")

    def token_weights(self, count_K: Tensor) -> Tensor:
        return torch.ones_like(count_K) / count_K.sum()

    @property
    def average_weights(self) -> Tensor:
        raise NotImplementedError("a plain objective has no weights to average")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state
