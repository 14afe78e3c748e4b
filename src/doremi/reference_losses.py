"""The reference model's token losses, which the proxy is compared with.

They are rounded to float16, whether they are computed beside the proxy or read back from disk, so that both give the
same domain weights (bfloat16 would lose too much: three digits of a loss near 10). Shapes as in `dro.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from doremi.model import TokenLosses

ReferenceLosses = Callable[[Tensor, Tensor], Tensor]


def rounded(loss_BT: Tensor) -> Tensor:
    """To float16 and back: the precision that reference losses are kept in."""
    return loss_BT.to(torch.float16).to(torch.float32)


class LiveReference:
    """Computes the losses beside the proxy: frozen, dropout off, no graph kept."""

    def __init__(self, module: TokenLosses, forward: Callable[[Tensor, Tensor], Tensor]) -> None:
        module.eval().requires_grad_(False)
        self.forward = forward

    @torch.no_grad()
    def __call__(self, input_BT: Tensor, label_BT: Tensor) -> Tensor:
        return rounded(self.forward(input_BT, label_BT))
