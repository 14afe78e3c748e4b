"""What is here of a split parameter."""

# pyright: reportPrivateImportUsage=false
# torch.distributed gives its names to everyone, but does not list them.

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Rows:
    """The rows of one split parameter that are here."""

    start: int
    number: int
    whole: int
    """Rows of the whole parameter."""
    group: dist.ProcessGroup
    """The processes that have the others."""

    def of(self, whole: Tensor) -> Tensor:
        """Those of a whole tensor with as many rows; a view."""
        return whole[self.start : self.start + self.number]

    def placed(self, part: Tensor) -> Tensor:
        """A whole tensor with these rows, and zeros elsewhere."""
        found = part.new_zeros([self.whole, *part.shape[1:]])
        self.of(found).copy_(part)
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        dist.all_reduce(tensor, group=self.group)
        return tensor


def rows_of(parameter: Tensor) -> Rows:
    """Of a parameter that `shard` has split."""
    assert isinstance(parameter, DTensor)
    mesh, at = parameter.device_mesh, len(parameter.placements) - 1  # copies are the first dimension, if there are any
    each = -(-len(parameter) // mesh.size(at))
    start = min(len(parameter), mesh.get_local_rank(at) * each)
    return Rows(start, len(parameter.to_local()), len(parameter), mesh.get_group(at))


def local(tensor: Tensor | None) -> Tensor:
    """What is here of a split tensor; shares its memory."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local()
