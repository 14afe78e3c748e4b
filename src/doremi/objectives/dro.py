"""Algorithm 1 of DoReMi (Xie et al. 2023, arXiv:2305.10429, section 2), and nothing else.

    paper               here                what it is
    ------------------  ------------------  ----------------------------------------------------------------
    k                   num_domains         number of domains
    eta                 eta                 step size of the weights (1 in the paper)
    c                   smoothing           share of the uniform distribution mixed in (1e-3 in the paper)
    alpha_t             alpha_K             domain weights after step t; alpha_0 is uniform
    lambda_t            lam_K               clipped excess loss of each domain in the minibatch, nats a token
    alpha-bar           average_weights     mean of alpha_1 .. alpha_T: the mixture that DoReMi returns
    l_theta, l_ref      loss_BT, reference_BT   token losses of proxy and reference, nats

Shapes: B sequences, T tokens, K domains. Sums over tokens are taken first and divided once, so that sums of several
micro-batches or processes can be added before `update`: the weights then depend on the global batch alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class DROState:
    """Everything Algorithm 1 carries from step to step; tensors are float64 `[K]`."""

    alpha_K: Tensor
    alpha_sum_K: Tensor
    lam_K: Tensor
    step: int


def initial_state(num_domains: int) -> DROState:
    """alpha_0 = 1/k for every domain; nothing summed, nothing scored."""
    zero_K = torch.zeros(num_domains, dtype=torch.float64)
    return DROState(alpha_K=zero_K + 1 / num_domains, alpha_sum_K=zero_K, lam_K=zero_K, step=0)


def sum_by_domain(value_BT: Tensor, mask_BT: Tensor, domain_B: Tensor, num_domains: int) -> Tensor:
    """Sum of the unmasked values of each domain's sequences, float64 `[K]`; masked values may be anything."""
    row_B = torch.where(mask_BT, value_BT.detach(), 0.0).sum(dim=-1, dtype=torch.float64)
    return row_B.new_zeros(num_domains).index_add(0, domain_B, row_B)


def excess_sums(excess_BT: Tensor, mask_BT: Tensor, domain_B: Tensor, num_domains: int) -> Tensor:
    """`[2, K]`: for each domain the sum of the excess over its unmasked tokens, and their number."""
    parts = (excess_BT, torch.ones_like(excess_BT))
    try:
        return torch.stack([sum_by_domain(x, mask_BT, domain_B, num_domains) for x in parts])
    except IndexError:  # on a CPU; a GPU could tell only after waiting for it
        raise ValueError(f"domain_B names a domain outside 0 .. {num_domains - 1}") from None


def scores(sums_2K: Tensor) -> Tensor:
    """lambda_t `[K]`: mean clipped excess of each domain.

    One without unmasked tokens takes the mean score of those present, so that its relative weight stays where it is.
    """
    present_K = sums_2K[1] > 0
    lam_K = torch.where(present_K, sums_2K[0] / sums_2K[1].clamp(min=1), 0.0)
    return torch.where(present_K, lam_K, lam_K.sum() / present_K.sum().clamp(min=1))


def update(state: DROState, lam_K: Tensor, eta: float, smoothing: float, target_K: Tensor | None = None) -> DROState:
    """alpha_t = (1 - c) normalise(alpha_{t-1} exp(eta lambda_t)) + c u, in log space; u is uniform, or `target_K`."""
    lam_K = lam_K.to(torch.float64)
    mixed_in = smoothing / len(lam_K) if target_K is None else smoothing * target_K
    alpha_K = torch.softmax(state.alpha_K.to(lam_K.device).log() + eta * lam_K, dim=0)
    alpha_K = (1 - smoothing) * alpha_K + mixed_in
    return DROState(alpha_K, state.alpha_sum_K.to(lam_K.device) + alpha_K, lam_K, state.step + 1)


def weighted_loss(loss_BT: Tensor, mask_BT: Tensor, domain_B: Tensor, token_weight_K: Tensor) -> Tensor:
    """Sum over unmasked tokens of their domain's weight times their loss, float32; gradients reach `loss_BT` only."""
    weight_B = token_weight_K.detach().to(torch.float32)[domain_B]
    return (weight_B * torch.where(mask_BT, loss_BT.float(), 0.0).sum(dim=-1)).sum()


def check_batch(loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> None:
    """`ValueError` unless these are of one batch; looks at shapes and types only, for which no device waits."""
    shape, others = tuple(loss_BT.shape), [tuple(x.shape) for x in (reference_BT, mask_BT, domain_B)]
    if len(shape) != 2 or others != [shape, shape, shape[:1]]:
        raise ValueError(f"need losses, reference losses and mask [B, T] and domains [B], not {[shape, *others]}")
    if domain_B.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"domain_B must hold int64 (or int32), not {domain_B.dtype}")


def check_values(name: str, value: Tensor, *shape: int) -> None:
    """`ValueError` for another shape, and on a CPU (a GPU could tell only after waiting) for what is not finite."""
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)} where {shape} is due")
    if value.device.type == "cpu" and not value.isfinite().all():
        raise ValueError(f"{name} is not finite")


class GroupDRO:
    """Algorithm 1 as an object for a training loop; `step` is one pass through its body.

    In a distributed or accumulating loop, call its three parts instead: add the `sums` of all parts of the batch,
    `update` once, then weight each part's loss with `token_weights(sums_2K[1])`.
    """

    def __init__(self, num_domains: int, *, eta: float = 1.0, smoothing: float = 1e-3) -> None:
        if num_domains < 1 or not 0 <= smoothing <= 1 or not 0 <= eta < float("inf"):
            need = "num_domains >= 1, 0 <= smoothing <= 1 and a finite eta >= 0"
            raise ValueError(f"need {need}, not {num_domains=}, {smoothing=}, {eta=}")
        self.num_domains, self.eta, self.smoothing = num_domains, eta, smoothing
        self.state = initial_state(num_domains)

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor:
        """Clipped excess and token count of each domain in these sequences, float64 `[2, K]`."""
        check_batch(loss_BT, reference_BT, mask_BT, domain_B)
        return excess_sums((loss_BT - reference_BT).clamp(min=0), mask_BT.bool(), domain_B, self.num_domains)

    def update(self, sums_2K: Tensor) -> Tensor:
        """Advance the weights by the sums of the whole global batch; returns alpha_t `[K]`."""
        check_values("sums_2K", sums_2K, 2, self.num_domains)
        self.state = update(self.state, scores(sums_2K), self.eta, self.smoothing)
        return self.state.alpha_K

    def token_weights(self, count_K: Tensor) -> Tensor:
        """alpha_t[i] / n_i `[K]`: what one token of domain i counts, given n_i tokens in the global batch."""
        check_values("count_K", count_K, self.num_domains)
        return torch.where(count_K > 0, self.state.alpha_K.to(count_K.device) / count_K.clamp(min=1), 0.0)

    def step(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor:
        """Update alpha with this batch and return the proxy's loss, sum_i alpha_t[i] x mean loss of domain i.

        `loss_BT` and `reference_BT` are token losses in nats `[B, T]`, `mask_BT` is not 0 where a token counts,
        `domain_B` holds each sequence's domain index. The loss is unclipped: the reference is constant in theta.
        """
        sums_2K = self.sums(loss_BT, reference_BT, mask_BT, domain_B)
        self.update(sums_2K)
        return weighted_loss(loss_BT, mask_BT.bool(), domain_B, self.token_weights(sums_2K[1]))

    @property
    def average_weights(self) -> Tensor:
        """Mean of alpha_1 .. alpha_t `[K]`, the algorithm's result; uniform before the first step."""
        return self.state.alpha_sum_K / self.state.step if self.state.step else self.state.alpha_K

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("alpha_K", "alpha_sum_K", "lam_K"):
            check_values(name, state[name], self.num_domains)
        self.state = DROState(**state)
