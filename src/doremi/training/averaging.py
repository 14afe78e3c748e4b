"""The mean of a model's weights over the last steps of its training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from doremi.config import TrainingConfig

PREFIX = "average."  # of its tensors in a checkpoint


class LateAverage:
    """Keeps the mean from the first late step on; without a share to average over it keeps nothing.

    How many steps the mean is of follows from the step, so its tensors are all that a checkpoint needs.
    """

    def __init__(self, module: nn.Module, settings: TrainingConfig) -> None:
        late = math.ceil(settings.average * settings.steps)
        self.module, self.first = module, settings.steps - late + 1
        self.means = {name: torch.zeros_like(p) for name, p in module.named_parameters()} if late else {}

    @torch.no_grad()
    def see(self, step: int) -> None:
        """Take in the weights after `step`; each step is told once, in order."""
        if self.means and step >= self.first:
            for name, parameter in self.module.named_parameters():
                self.means[name].lerp_(parameter, 1 / (step - self.first + 1))

    @torch.no_grad()
    def put(self, step: int) -> None:
        """Give the module the mean as it is after `step`; a training that ended before the late steps has none."""
        if self.means and step >= self.first:
            for name, parameter in self.module.named_parameters():
                parameter.copy_(self.means[name])

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {f"{PREFIX}{name}": mean for name, mean in self.means.items()}

    @torch.no_grad()
    def put_back(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what `tensors` gave; other names are passed over."""
        for name, mean in self.means.items():
            mean.copy_(tensors[f"{PREFIX}{name}"])
