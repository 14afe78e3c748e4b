"""The checkpoints of one training, each written before the next: at once, or while the training goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from doremi.distributed import World
from doremi.errors import DoremiError
from doremi.rundir.memory import saves_in_background
from doremi.training import checkpoint
from doremi.training.checkpoint import Saving


class Saver:
    """A context: whoever leaves it without an error has all that was saved."""

    def __init__(self, folder: Path, world: World, *, sharded: bool) -> None:
        self.folder, self.world, self.sharded = folder, world, sharded
        self.saving: Saving | None = None
        """What is on its way. All processes have one, or none has."""

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None:
            self.finish()
        elif self.world.size == 1 and isinstance(error, Exception):  # of several processes some may be gone
            with contextlib.suppress(DoremiError, OSError):  # what ended the training is told, and not this
                self.finish()

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Save after a step, once what was saved before is there. Every process must call this."""
        self.finish()
        if not saves_in_background(self.world.device.type, self._size(tensors)):
            checkpoint.save(self.folder, step, tensors, state, self.world, sharded=self.sharded)
            return
        self.saving = checkpoint.begin(self.folder, step, tensors, state, self.world, sharded=self.sharded)

    def _size(self, tensors: Mapping[str, Tensor]) -> int:
        """Bytes that this process writes, about: the same number on all processes."""
        whole = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        return whole // self.world.size if self.sharded else whole

    def is_writing(self) -> bool:
        """Whether this process is still at it."""
        return self.saving is not None and not self.saving.done()

    def finish(self) -> None:
        """Wait for what is on its way. Every process must call this."""
        saving, self.saving = self.saving, None
        if saving is not None:
            saving.publish()
