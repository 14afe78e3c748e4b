"""What an objective is to the training loop: all that the loop asks of it, so that it tests for no class.

A training minimises the sum over domains of what a token of the domain counts, times its token losses. Objectives
differ in what a token counts and in what moves it. Shapes: B sequences, T tokens, K domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class Scoring(Protocol):
    """How a batch moves the weights; `GroupDRO` is one. Sums of all micro-batches and processes are added first."""

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor:
        """What `update` must know of these sequences, float64 `[2, K]`; losses of model and reference in nats."""
        ...

    def update(self, sums_2K: Tensor) -> Tensor:
        """Move the weights by the sums of the whole global batch. `ValueError` where they are not finite, on a CPU."""
        ...


class Objective(Protocol):
    """What a training minimises."""

    @property
    def scoring(self) -> Scoring | None:
        """How it scores a batch against a reference. None: it scores nothing, and needs no reference."""
        ...

    @property
    def weighs_ahead(self) -> bool:
        """Whether what a token counts is known before the batch is.

        Else the whole batch is scored first. Where it comes in micro-batches that takes a forward pass of its own.
        """
        ...

    @property
    def scores_clipped_excess(self) -> bool:
        """Whether its scores are means of max(l_theta - l_ref, 0): of these the loop measures the spread."""
        ...

    @property
    def logs(self) -> tuple[str, ...]:
        """Which columns of the trace it fills (docs/formats.md)."""
        ...

    def columns(self) -> Mapping[str, Tensor]:
        """Its columns after the last `update`, `[K]` each."""
        ...

    def token_weights(self, count_K: Tensor) -> Tensor:
        """What one token of each domain counts `[K]`, given the tokens of each in the global batch."""
        ...

    @property
    def average_weights(self) -> Tensor | None:
        """The domain weights that it found so far `[K]`; None if it looks for none."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step: tensors, and what JSON can hold."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`; `ValueError` for one that is not of this objective."""
        ...
