"""TensorBoard: one folder a training, in the run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from doremi.events.event import Began, Evaluated, Event, Failed, Finished, Measured, Stopped
from doremi.trackers.figures import figures, run_id, safe_name

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files below `run`/tensorboard. What a resumed training repeats is hidden by what it writes anew."""

    name, package = "TensorBoard", "tensorboard"

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER
        self._writer: Any = None
        self._domains: tuple[str, ...] = ()

    def hear(self, event: Event) -> None:
        if isinstance(event, Began):
            from torch.utils.tensorboard import SummaryWriter

            self._domains = event.domains
            folder = self._folder / f"{safe_name(event.job)}-{run_id(event)}"
            self._writer = SummaryWriter(str(folder), purge_step=event.step + 1 if event.step else None)
        elif self._writer is None:
            return
        elif isinstance(event, (Measured, Evaluated)):
            for name, value in figures(event, self._domains).items():
                self._writer.add_scalar(name, value, event.step)
        elif isinstance(event, (Finished, Stopped, Failed)):
            self._writer.close()
            self._writer = None
