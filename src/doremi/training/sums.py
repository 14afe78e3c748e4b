"""What a step sums by domain, beside the objective's own scores. Shapes: B sequences, T tokens, K domains."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from doremi.objectives.dro import sum_by_domain

Sums = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""What an objective must know of a batch (`objectives.objective.Scoring.sums`), `[2, K]`."""


def counts(mask_BT: Tensor, domain_B: Tensor, k: int) -> Tensor:
    """Tokens of each domain, float64 `[K]`."""
    return sum_by_domain(torch.ones_like(mask_BT, dtype=torch.float32), mask_BT, domain_B, k)


def spread_sums(loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor, k: int) -> Tensor:
    """`[3, K]`: sum of the sequences' clipped excess, of its squares, and of the reference's loss."""
    excess_BT = torch.where(mask_BT, (loss_BT - reference_BT).detach().clamp(min=0), 0.0)
    excess_B, reference_B = (value_BT.sum(dim=-1, dtype=torch.float64) for value_BT in (excess_BT, reference_BT))
    rows = torch.stack([excess_B, excess_B.square(), reference_B])
    return torch.zeros(3, k, dtype=torch.float64, device=rows.device).index_add(1, domain_B, rows)


def scored_sums(
    scored: Sums, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor, k: int
) -> Tensor:
    """`[5, K]`: the three of `spread_sums`, then the two of the objective."""
    spread_3K = spread_sums(loss_BT, reference_BT, mask_BT, domain_B, k)
    return torch.cat([spread_3K, scored(loss_BT, reference_BT, mask_BT, domain_B)])


def score_error(sums_5K: Tensor, sequence_length: int) -> Tensor:
    """Standard error of each domain's score, nats a token `[K]`, from the spread between its sequences."""
    _, tokens_K, excess_K, squares_K, _ = sums_5K
    number_K = tokens_K / sequence_length
    variance_K = (squares_K - excess_K.square() / number_K).clamp(min=0) / (number_K - 1)
    return (variance_K / number_K).sqrt() / sequence_length
