"""Cross-entropy of a linear head token by token, from all logits at once or in chunks.

In chunks the logits are computed twice, forward and backward, and never exist all at once. What a chunk computes is
one function without gradients of its own, and gradients of chunks are added in float32. A compiler sees that function
once, whatever the number of chunks: it stands outside of the model's graph.

Shapes: N tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def plain_losses(hidden_ND: Tensor, head: nn.Linear, label_N: Tensor) -> Tensor:
    """Cross-entropy of a linear head token by token, float32 `[N]`, from all logits at once."""
    return _cross_entropy(head(hidden_ND), label_N)


def operator_losses(hidden_ND: Tensor, head: nn.Linear, label_N: Tensor, chunk: int) -> Tensor:
    """The same by PyTorch's operator (2.13 and later), `chunk` tokens at a time; all in float32."""
    return functional.linear_cross_entropy(
        hidden_ND,
        head.weight,
        label_N,
        linear_bias=head.bias,
        reduction="none",
        # its own choice of chunks, a few tokens each where the vocabulary is large, is several times slower on a CPU
        options=nn.LinearCrossEntropyOptions(batch_chunk_size=chunk, chunking_method=None),
    )


def losses_of(logits_NV: Tensor, label_N: Tensor, *, compiled: bool) -> Tensor:
    """Cross-entropy of logits token by token, float32 `[N]`; `compiled`: with a graph of its own."""
    return _called(_cross_entropy, True)(logits_NV, label_N) if compiled else _cross_entropy(logits_NV, label_N)


def _cross_entropy(logits_NV: Tensor, label_N: Tensor) -> Tensor:
    return functional.cross_entropy(logits_NV.float(), label_N, reduction="none")


def linear_losses(hidden_ND: Tensor, head: nn.Linear, label_N: Tensor, chunk: int, *, compiled: bool = False) -> Tensor:
    """The same without all logits in memory at once, by the way that is there and as exact as the plain one.

    `compiled`: what a chunk computes has a graph of its own. Inside of a compiled model it always has one.
    In bfloat16 that is never the operator: it returns losses in the type of the hidden states, so that they would be
    rounded to three digits or the head's product be done in float32, where the others round the logits alone.
    """
    full = hidden_ND.dtype == torch.float32 and not torch.is_autocast_enabled(hidden_ND.device.type)
    if full and hasattr(nn, "LinearCrossEntropyOptions"):
        return operator_losses(hidden_ND, head, label_N, chunk)
    return chunked_losses(hidden_ND, head, label_N, chunk, compiled=compiled)


def chunked_losses(
    hidden_ND: Tensor, head: nn.Linear, label_N: Tensor, chunk: int, *, compiled: bool = False
) -> Tensor:
    """The same in chunks of so many tokens."""
    if torch.compiler.is_compiling():
        return _outside_of_the_graph(hidden_ND, head.weight, head.bias, label_N, chunk)  # type: ignore[call-arg]
    return _Chunks.apply(hidden_ND, head.weight, head.bias, label_N, chunk, compiled)  # type: ignore[return-value]


@torch.compiler.disable
def _outside_of_the_graph(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, label_N: Tensor, chunk: int
) -> Tensor:
    return _Chunks.apply(hidden_ND, weight_VD, bias_V, label_N, chunk, True)  # type: ignore[return-value]


class _Chunks(torch.autograd.Function):
    """Losses of chunks, and gradients from logits that are computed again. Types are those of autocast, if it is on."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, label_N: Tensor, chunk: int,
        compiled: bool,
    ) -> Tensor:  # fmt: skip
        device = hidden_ND.device.type
        ctx.dtype = torch.get_autocast_dtype(device) if _autocast(device) else hidden_ND.dtype
        ctx.chunk, ctx.compiled = chunk, compiled
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, label_N)
        losses = _called(_losses, compiled)
        with _as_given(device):
            head = _cast((weight_VD, bias_V), ctx.dtype)
            chunks = zip(hidden_ND.to(ctx.dtype).split(chunk), label_N.split(chunk), strict=True)
            return torch.cat([losses(hidden, *head, label) for hidden, label in chunks])

    @staticmethod
    def backward(ctx: Any, *grad_N: Tensor) -> Any:
        hidden_ND, weight_VD, bias_V, label_N = ctx.saved_tensors
        gradients = _called(_gradients, ctx.compiled)
        with _as_given(hidden_ND.device.type):
            head = _cast((weight_VD, bias_V), ctx.dtype)
            weight_sum = torch.zeros_like(weight_VD, dtype=torch.float32)
            bias_sum = None if bias_V is None else torch.zeros_like(bias_V, dtype=torch.float32)
            parts = []
            for hidden, label, grad in zip(
                *(whole.split(ctx.chunk) for whole in (hidden_ND.to(ctx.dtype), label_N, grad_N[0])), strict=True
            ):
                of_hidden, of_weight, of_bias = gradients(hidden, *head, label, grad)
                parts.append(of_hidden)
                weight_sum += of_weight
                if bias_sum is not None:
                    bias_sum += of_bias
        of_bias = None if bias_V is None or bias_sum is None else bias_sum.to(bias_V.dtype)
        return torch.cat(parts).to(hidden_ND.dtype), weight_sum.to(weight_VD.dtype), of_bias, None, None, None


def _as_given(device: str) -> contextlib.AbstractContextManager[Any]:
    """Without autocast: types are chosen here."""
    return torch.autocast(device, enabled=False) if _autocast(device) else contextlib.nullcontext()


def _autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _cast(head: tuple[Tensor, Tensor | None], dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in the type of the products, once for all chunks."""
    weight_VD, bias_V = head
    return weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)


def _losses(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, label_N: Tensor) -> Tensor:
    return _cross_entropy(functional.linear(hidden_ND, weight_VD, bias_V), label_N)


def _gradients(
    hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, label_N: Tensor, grad_N: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of hidden states, weight and bias: the gradient of a logit is (its probability - 1 if it is the label's) x grad.

    The products have the type of the hidden states, as in the plain way.
    """
    logits_NV = functional.linear(hidden_ND, weight_VD, bias_V)
    grad_N1 = grad_N[:, None]
    scaled_NV = torch.log_softmax(logits_NV.float(), dim=-1).exp() * grad_N1
    is_label_NV = torch.arange(len(weight_VD), device=label_N.device) == label_N[:, None]
    grad_NV = torch.where(is_label_NV, scaled_NV - grad_N1, scaled_NV).to(hidden_ND.dtype)
    return grad_NV @ weight_VD, grad_NV.T @ hidden_ND, grad_NV.sum(dim=0)


@cache
def _called(function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    """`function`, or its one compiled form."""
    return torch.compile(function, dynamic=False) if compiled else function
