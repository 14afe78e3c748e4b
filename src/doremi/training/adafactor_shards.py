"""Adafactor for parameters that are split over processes: the rule of `torch.optim.Adafactor` on the whole matrices.

Adafactor keeps means of the squared gradient over rows and over columns, and scales an update by the size of the whole
parameter and of the whole update. A process has some rows of each. So the sums of all parameters are added up over the
processes once, and the sizes of the updates once more. What is kept is small, and whole on every process, as it is
without shards: a checkpoint of one is a checkpoint of the other.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from doremi.distributed import Rows, local, rows_of

_Moved = tuple[dict[str, Any], Tensor, Rows, dict[str, Tensor]]
"""Group, parameter, the rows of it that are here, and what is kept of it."""


class ShardedAdafactor(torch.optim.Adafactor):
    """`torch.optim.Adafactor` (Shazeer and Stern 2018, arXiv:1804.04235) over shards."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step; there is no closure. Gradients are used up."""
        assert closure is None
        moved: list[_Moved] = [
            (group, parameter, rows_of(parameter), self._kept(parameter))
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not moved:
            return
        sums = [_sums(parameter, rows) for _, parameter, rows, _ in moved]
        flat = iter(_added_up(moved[0][2], list(itertools.chain(*sums))))
        sizes = []
        for (group, parameter, rows, kept), parts in zip(moved, sums, strict=True):
            size, *squares = [next(flat) for _ in parts]
            _keep(kept, squares, parameter, float(kept["step"]) ** group["beta2_decay"])
            _to_update(parameter, rows, kept, _eps(group, parameter))
            sizes.append((size, local(parameter.grad).square().sum()))
        updates = _added_up(moved[0][2], [update for _, update in sizes])
        for (group, parameter, _, kept), (size, _), update in zip(moved, sizes, updates, strict=True):
            _move(group, parameter, float(kept["step"]), size, update)

    def _kept(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is kept of a parameter, at its next step."""
        kept = self.state[parameter]
        if not kept:
            kept["step"] = torch.tensor(0.0)
            shape, own = list(parameter.shape), local(parameter)
            if len(shape) > 1:
                kept["row_var"] = own.new_zeros([*shape[:-1], 1])
                kept["col_var"] = own.new_zeros([*shape[:-2], 1, shape[-1]])
            else:
                kept["variance"] = own.new_zeros(shape)
        kept["step"] += 1
        return kept


def _eps(group: dict[str, Any], parameter: Tensor) -> float:
    return torch.finfo(parameter.dtype).eps if group["eps"][0] is None else group["eps"][0]


def _sums(parameter: Tensor, rows: Rows) -> list[Tensor]:
    """What the processes add up: the parameter's sum of squares, and those of its gradient by rows and by columns."""
    assert parameter.grad is not None
    own, grad = local(parameter), local(parameter.grad)
    size, squared = own.square().sum(), grad.square()
    if parameter.ndim == 1:
        return [size, rows.placed(squared)]
    by_row, by_column = (squared.sum(dim=dim, keepdim=True) for dim in (-1, -2))
    return [size, rows.placed(by_row), by_column if parameter.ndim == 2 else rows.placed(by_column)]


def _added_up(rows: Rows, tensors: list[Tensor]) -> list[Tensor]:
    """The sums of tensors over the processes, in one exchange."""
    whole = rows.sum(torch.cat([tensor.flatten() for tensor in tensors]))
    parts = whole.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _keep(kept: dict[str, Tensor], squares: list[Tensor], parameter: Tensor, new: float) -> None:
    """Move what is kept towards the squared gradients by `new`."""
    if parameter.ndim == 1:
        kept["variance"].lerp_(squares[0], new)
        return
    kept["row_var"].lerp_(squares[0] / parameter.shape[-1], new)
    kept["col_var"].lerp_(squares[1] / parameter.shape[-2], new)


def _to_update(parameter: Tensor, rows: Rows, kept: dict[str, Tensor], eps: float) -> None:
    """Make of the gradient here the update, not scaled yet."""
    assert parameter.grad is not None
    if parameter.ndim == 1:
        estimate = rows.of(kept["variance"]).clone()
    else:
        row, column = kept["row_var"], kept["col_var"]
        mean = row.mean(dim=-2, keepdim=True).clamp_(min=eps)
        if parameter.ndim > 2:
            column, mean = rows.of(column), rows.of(mean)
        estimate = (rows.of(row) @ column).div_(mean)
    local(parameter.grad).mul_(estimate.clamp_(min=eps * eps).rsqrt_())


def _move(group: dict[str, Any], parameter: Tensor, step: float, size: Tensor, update: Tensor) -> None:
    """Move a parameter by its update; `size` and `update` are the sums of squares of both, over all processes."""
    assert parameter.grad is not None
    rate, number = float(group["lr"]), parameter.numel()
    relative = min(rate, step**-0.5) * (size / number).sqrt().clamp(min=group["eps"][1])
    clipped = ((update / number).sqrt() / group["d"]).clamp(min=1.0)
    own = local(parameter)
    if group["weight_decay"]:
        own.mul_(1 - rate * group["weight_decay"])
    own.sub_(local(parameter.grad).mul_(relative / clipped))
