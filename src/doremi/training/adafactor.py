"""Adafactor on a GPU: PyTorch's, whose every parameter makes the host wait twice, without the waits.

PyTorch reads the size of a parameter and of its update to the host, also in its `foreach` form. Here both stay on the
device. The rule, its constants and what is kept are the same, so that a checkpoint of one is a checkpoint of the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Adafactor(torch.optim.Adafactor):
    """`torch.optim.Adafactor` (Shazeer and Stern 2018, arXiv:1804.04235), without waiting for the device."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step; there is no closure."""
        assert closure is None
        for group in self.param_groups:
            parameters: list[Tensor] = []
            lists: list[list[Any]] = [[] for _ in range(5)]
            self._init_group(group, parameters, *lists)
            for parameter, grad, row, column, variance, step in zip(parameters, *lists, strict=True):
                step += 1  # on the host
                _update(parameter, grad, (row, column), variance, float(step), group)


def _update(
    parameter: Tensor, grad: Tensor, factors: tuple[Tensor | None, Tensor | None], variance: Tensor | None,
    step: float, group: dict[str, Any],
) -> None:  # fmt: skip
    """Move one parameter."""
    eps1, eps2 = group["eps"]
    eps1 = torch.finfo(parameter.dtype).eps if eps1 is None else eps1
    rate, number = float(group["lr"]), parameter.numel() ** 0.5
    relative = min(rate, step**-0.5) * (parameter.norm(2) / number).clamp(min=eps2)
    if group["weight_decay"]:
        parameter.mul_(1 - rate * group["weight_decay"])
    estimate = _second_moment(grad, factors, variance, step ** group["beta2_decay"], eps1)
    update = estimate.clamp_(min=eps1 * eps1).rsqrt_().mul_(grad)
    size = (update.norm(2) / (number * group["d"])).clamp(min=1.0)
    parameter.sub_(update.mul_(relative / size))


def _second_moment(
    grad: Tensor, factors: tuple[Tensor | None, Tensor | None], variance: Tensor | None, new: float, eps1: float
) -> Tensor:
    """Move what is kept of the squared gradients towards these by `new`, and return what it says of each."""
    row, column = factors
    if row is None or column is None:
        assert variance is not None
        return variance.lerp_(grad * grad, new).clone()
    row.lerp_(grad.norm(dim=-1, keepdim=True).square_().div_(grad.size(-1)), new)
    column.lerp_(grad.norm(dim=-2, keepdim=True).square_().div_(grad.size(-2)), new)
    return (row @ column).div_(row.mean(dim=-2, keepdim=True).clamp_(min=eps1))
