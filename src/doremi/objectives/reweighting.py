"""Group DRO as an `Objective`: what `dro.py` need not know of the loop that it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from doremi.objectives.dro import GroupDRO


@dataclass(frozen=True)
class Reweighting:
    """Algorithm 1, or a variant of it, in a training loop."""

    scoring: GroupDRO
    weighs_ahead: bool
    """Whether a batch is weighted with the weights from before it, and not with those that it has moved."""
    scores_clipped_excess: bool
    logs = ("weights", "scores")

    def columns(self) -> dict[str, Tensor]:
        """alpha_t and lambda_t."""
        return {"weights": self.scoring.state.alpha_K, "scores": self.scoring.state.lam_K}

    def token_weights(self, count_K: Tensor) -> Tensor:
        return self.scoring.token_weights(count_K)

    @property
    def average_weights(self) -> Tensor:
        return self.scoring.average_weights

    def state_dict(self) -> dict[str, Any]:
        return self.scoring.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scoring.load_state_dict(state)
