"""What other codes and the paper's ablations do differently from `dro.py`: the rest of it is theirs too.

Each difference is one field of `Choices`; the defaults are Algorithm 1, so that a variant is read off its fields.
These are choices, not bugs: what is wrong elsewhere (stale weights on some ranks, weights not carried over, positive
tokens as denominator) is not offered here; the tests hold our code against it. Shapes as in `dro.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args, get_type_hints

import torch
from torch import Tensor

from doremi.objectives.dro import DROState, GroupDRO, check_batch, check_values, excess_sums, scores, update

TINY = torch.finfo(torch.float64).tiny  # in place of 0 where a batch without tokens is divided by


@dataclass(frozen=True)
class Choices:
    """Where codes differ. Weights are given in domain order and need not be normalised."""

    excess: Literal["difference", "proxy", "minus_reference"] = "difference"
    """What is scored: l_theta - l_ref; l_theta alone ("hardest"); -l_ref alone ("easiest", paper section 4)."""
    clip: Literal["token", "domain", "none"] = "token"
    """Clip at 0 each token (paper, official), the domain's mean (aioli, DoGE), or nothing."""
    absent: Literal["mean", "last", "zero"] = "mean"
    """Score of a domain without tokens: mean of those present, its last score (official), or 0 (levanter)."""
    unseen_score: float = 0.0
    """With absent="last": the score of a domain before its first appearance (official: ln of the vocabulary)."""
    start: Sequence[float] | None = None
    """alpha_0; uniform if not given. The official code starts at the proxy's sampling weights."""
    smoothing_target: Sequence[float] | None = None
    """What `smoothing` pulls to; uniform if not given (Re-Mix uses the domains' sizes)."""
    average_from: int = 1
    """First step that enters the average: 1 is the paper, 0 adds alpha_0 (official), more drops early steps."""
    sampling: Sequence[float] | None = None
    """If given, tokens weigh alpha/p normalised over the batch (official) instead of alpha / n_i."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Choices).items():
            allowed, value = get_args(hint), getattr(self, name)
            if all(isinstance(choice, str) for choice in allowed) and allowed and value not in allowed:
                raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}")
        if not isinstance(self.average_from, int) or self.average_from < 0:
            raise ValueError(f"average_from is {self.average_from!r}, but must be a step, 0 or later")
        if not isinstance(self.unseen_score, int | float) or not math.isfinite(self.unseen_score):
            raise ValueError(f"unseen_score is {self.unseen_score!r}, but must be a finite number of nats")

    @property
    def scores_clipped_excess(self) -> bool:
        """Whether a score is what it is in the paper: the mean of max(l_theta - l_ref, 0) over a domain's tokens."""
        return (self.excess, self.clip) == ("difference", "token")


def simplex(weights: Sequence[float] | None, num_domains: int) -> Tensor:
    """`weights` normalised to sum 1, float64 `[K]`; uniform for None."""
    if weights is None:
        return torch.full((num_domains,), 1 / num_domains, dtype=torch.float64)
    value_K = torch.tensor(list(weights), dtype=torch.float64)
    if value_K.shape != (num_domains,) or not bool((value_K >= 0).all()) or not 0 < float(value_K.sum()) < math.inf:
        raise ValueError(f"need {num_domains} finite weights >= 0 with a positive sum, not {weights}")
    return value_K / value_K.sum()


class VariantDRO(GroupDRO):
    """`GroupDRO` with other `Choices`: the same methods, shapes, units and errors."""

    def __init__(
        self, num_domains: int, choices: Choices | None = None, *, eta: float = 1.0, smoothing: float = 1e-3
    ) -> None:
        super().__init__(num_domains, eta=eta, smoothing=smoothing)
        self.choices = choices = choices or Choices()
        self.target_K = simplex(choices.smoothing_target, num_domains)
        self.sampling_K = None if choices.sampling is None else simplex(choices.sampling, num_domains)
        start_K = simplex(choices.start, num_domains)
        averaged_K = start_K if choices.average_from == 0 else torch.zeros_like(start_K)
        self.state = DROState(start_K, averaged_K, torch.full_like(start_K, choices.unseen_score), step=0)

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor:
        """Excess (clipped per token if so chosen) and token count of each domain, float64 `[2, K]`."""
        check_batch(loss_BT, reference_BT, mask_BT, domain_B)
        excess_BT = {
            "difference": lambda: loss_BT - reference_BT,
            "proxy": lambda: loss_BT,
            "minus_reference": lambda: -reference_BT,
        }[self.choices.excess]()
        if self.choices.clip == "token":
            excess_BT = excess_BT.clamp(min=0)
        return excess_sums(excess_BT, mask_BT.bool(), domain_B, self.num_domains)

    def scores(self, sums_2K: Tensor) -> Tensor:
        """lambda `[K]` under these choices; a present but fully masked domain counts as absent."""
        if self.choices.clip == "domain":
            sums_2K = torch.stack([sums_2K[0].clamp(min=0), sums_2K[1]])
        lam_K = scores(sums_2K)
        if self.choices.absent == "mean":
            return lam_K
        absent_K = self.state.lam_K.to(lam_K.device) if self.choices.absent == "last" else torch.zeros_like(lam_K)
        return torch.where(sums_2K[1] > 0, lam_K, absent_K)

    def update(self, sums_2K: Tensor) -> Tensor:
        """Advance the weights by the sums of the whole global batch; returns alpha_t `[K]`."""
        check_values("sums_2K", sums_2K, 2, self.num_domains)
        before = self.state
        self.target_K = self.target_K.to(sums_2K.device)  # once: after the first step it is there
        self.state = update(before, self.scores(sums_2K), self.eta, self.smoothing, self.target_K)
        if self.state.step < self.choices.average_from:
            self.state = replace(self.state, alpha_sum_K=before.alpha_sum_K)
        return self.state.alpha_K

    def token_weights(self, count_K: Tensor) -> Tensor:
        """What one token of each domain counts in the loss `[K]`, given the global batch's token counts."""
        if self.sampling_K is None:
            return super().token_weights(count_K)
        check_values("count_K", count_K, self.num_domains)
        self.sampling_K = self.sampling_K.to(count_K.device)
        ratio_K = torch.where(count_K > 0, self.state.alpha_K.to(count_K.device) / self.sampling_K, 0.0)
        return ratio_K / (ratio_K * count_K).sum().clamp(min=TINY)

    @property
    def average_weights(self) -> Tensor:
        """Mean of the averaged steps' weights `[K]`; the current weights while there are none."""
        averaged = self.state.step + 1 - self.choices.average_from
        return self.state.alpha_sum_K / averaged if averaged > 0 else self.state.alpha_K


def official(
    num_domains: int, *, vocab_size: int, start: Sequence[float] | None = None, sampling: Sequence[float] | None = None
) -> Choices:
    """The rule of the authors' code (sangmichaelxie/doremi at 7cde52d), without its stale weights.

    It starts at `start`, scores unseen domains with ln(vocab_size), keeps the last score of absent ones, averages
    alpha_0 in, and weighs tokens by alpha / `sampling` normalised over the batch (both uniform if not given).
    """
    return Choices(
        absent="last",
        unseen_score=math.log(vocab_size),
        start=start,
        average_from=0,
        sampling=sampling if sampling is not None else [1.0] * num_domains,
    )
