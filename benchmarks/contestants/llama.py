"""A Llama in plain PyTorch, for the official trainer: its model needs flash-attention, which has no CPU build, and the
transformers of its time had no Llama. Same shape and operations as the model of everyone else.

Shapes: B sequences, T tokens, H heads, D width (E of one head), V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.weight * (x_BTD * torch.rsqrt(x_BTD.pow(2).mean(-1, keepdim=True) + 1e-6))


def turned(x_BHTE: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
    """Rotary positions: the two halves of each head are the two coordinates."""
    one, two = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * cos_TE + torch.cat([-two, one], dim=-1) * sin_TE


class Block(nn.Module):
    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.input_layernorm, self.post_attention_layernorm = Norm(width), Norm(width)
        self.self_attn = nn.ModuleDict({f"{x}_proj": nn.Linear(width, width, bias=False) for x in "qkvo"})
        self.mlp = nn.ModuleDict({f"{x}_proj": nn.Linear(width, feed_forward, bias=False) for x in ("gate", "up")})
        self.mlp["down_proj"] = nn.Linear(feed_forward, width, bias=False)

    def forward(self, x_BTD: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
        normed_BTD = self.input_layernorm(x_BTD)
        q, k, v = (
            self.self_attn[f"{x}_proj"](normed_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in "qkv"
        )
        q, k = turned(q, cos_TE, sin_TE), turned(k, cos_TE, sin_TE)
        seen_BHTE = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.self_attn["o_proj"](seen_BHTE.transpose(1, 2).flatten(-2))
        normed_BTD = self.post_attention_layernorm(x_BTD)
        return x_BTD + self.mlp["down_proj"](
            functional.silu(self.mlp["gate_proj"](normed_BTD)) * self.mlp["up_proj"](normed_BTD)
        )


class Decoder(nn.Module):
    """Tokens `[B, T]` to hidden states `[B, T, D]`."""

    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        width, heads, length = shape["hidden_size"], shape["num_attention_heads"], shape["max_position_embeddings"]
        self.embed_tokens = nn.Embedding(shape["vocab_size"], width)
        self.layers = nn.ModuleList(
            Block(width, heads, shape["intermediate_size"]) for _ in range(shape["num_hidden_layers"])
        )
        self.norm = Norm(width)
        head = width // heads
        rate_E = 10000.0 ** (-torch.arange(0, head, 2) / head)
        angle_TE = (torch.arange(length)[:, None] * rate_E).repeat(1, 2)
        self.cos_TE: Tensor
        self.sin_TE: Tensor
        self.register_buffer("cos_TE", angle_TE.cos(), persistent=False)
        self.register_buffer("sin_TE", angle_TE.sin(), persistent=False)

    def forward(self, input_BT: Tensor, **_: Any) -> Tensor:
        length = input_BT.shape[1]
        x_BTD = self.embed_tokens(input_BT)
        for layer in self.layers:
            x_BTD = layer(x_BTD, self.cos_TE[:length], self.sin_TE[:length])
        return self.norm(x_BTD)


class Llama(nn.Module):
    """Tokens `[B, T]` to logits `[B, T, V]`; parameters are named as transformers names them, but for `model`."""

    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        self.transformer = Decoder(shape)
        self.lm_head = nn.Linear(shape["hidden_size"], shape["vocab_size"], bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        self.lm_head.weight = self.transformer.embed_tokens.weight

    def forward(self, input_BT: Tensor) -> Tensor:
        return self.lm_head(self.transformer(input_BT))
