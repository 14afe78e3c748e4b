"""When a training saves a checkpoint: after so many steps, or by the clock."""

from __future__ import annotations

import time
from typing import Literal

SECONDS = 600.0  # between checkpoints, where nobody has said how many steps: what a crash may cost


class SaveTimes:
    """Whether a checkpoint is due. Bytes do not depend on it: a training resumes exactly from any step."""

    def __init__(self, every: int | Literal["auto"]) -> None:
        """`every`: steps; or `auto`, ten minutes since the last one."""
        self.every = every
        self.last = time.monotonic()

    def due(self, step: int) -> bool:
        """After this step; by the clock of the process that is asked."""
        if isinstance(self.every, str):
            return time.monotonic() - self.last >= SECONDS
        return step % self.every == 0

    def saved(self) -> None:
        """A checkpoint was written."""
        self.last = time.monotonic()


def expected(every: int | Literal["auto"], steps: int, seconds: float) -> int:
    """Checkpoints of a training of so many steps and seconds, the last one among them."""
    return 1 + int(seconds / SECONDS) if every == "auto" else -(-steps // every)
