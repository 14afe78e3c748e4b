"""What moves the weights."""

from __future__ import annotations

import torch
from torch import nn

from doremi.config import TrainingConfig
from doremi.distributed import is_sharded
from doremi.training.adafactor import Adafactor
from doremi.training.adafactor_shards import ShardedAdafactor


def make_optimizer(module: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or Adafactor; only matrices decay."""
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    vectors = [p for p in module.parameters() if p.ndim < 2]
    rate = float(settings.learning_rate)
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if settings.optimizer == "adafactor" and is_sharded(module):
        return ShardedAdafactor(groups, lr=rate)
    if settings.optimizer == "adafactor":
        on_card = matrices[0].device.type == "cuda"
        return (Adafactor if on_card else torch.optim.Adafactor)(groups, lr=rate)
    return torch.optim.AdamW(groups, lr=rate, betas=(settings.beta1, settings.beta2), fused=True)
