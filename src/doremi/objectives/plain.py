"""Ordinary training: nothing is scored, every token counts the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class PlainObjective:
    """The mean of all token losses, as an `Objective`."""

    scoring = None
    weighs_ahead = True
    scores_clipped_excess = False
    logs = ()
    average_weights = None

    def columns(self) -> dict[str, Tensor]:
        return {}

    def token_weights(self, count_K: Tensor) -> Tensor:
        return torch.ones_like(count_K) / count_K.sum().clamp(min=1)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"plain training has no state, so this is another objective's: {', '.join(state)}")
