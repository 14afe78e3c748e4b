"""A trace of a few steps of a training, by PyTorch's profiler, for Perfetto or a browser's trace viewer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doremi.config.step_range import first_and_last
from doremi.events.event import Began, Event, Said, Stepped
from doremi.events.stream import Watch

FOLDER = "profiles"


class Profiled(Watch):
    """A watch under which some steps of one training are profiled; they are counted from where this process begins."""

    def __init__(self, watch: Watch, steps: str, file: Path) -> None:
        self.watch, self.file = watch, file
        self.first, self.last = first_and_last(steps)
        self._done = 0
        """Steps before those of this process."""
        self._profile: Any = None

    def emit(self, event: Event) -> None:
        self.watch.emit(event)
        if isinstance(event, Began):
            self._done = event.step
        if isinstance(event, Began | Stepped):
            self._after(event.step - self._done)

    def stop_requested(self) -> bool:
        return self.watch.stop_requested()

    def _after(self, steps: int) -> None:
        """So many steps have been made here."""
        if self._profile is None and self.first - 1 <= steps < self.last:
            from torch.profiler import profile

            self._profile = profile(record_shapes=True, acc_events=True)  # without, some versions warn
            self._profile.__enter__()
        elif self._profile is not None and steps >= self.last:
            self.close()

    def close(self) -> None:
        """Write what has been seen; a training that ends before its last step leaves what there is."""
        seen, self._profile, self.last = self._profile, None, 0
        if seen is None:
            return
        seen.__exit__(None, None, None)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        seen.export_chrome_trace(str(self.file))
        self.emit(Said(f"trace of the steps: {self.file}"))


@contextlib.contextmanager
def profiled(watch: Watch, steps: str | None, run: Path, job: str) -> Iterator[Watch]:
    """`watch`, with a trace of the steps that the configuration names, if any, in the run's folder."""
    if steps is None:
        yield watch
        return
    watching = Profiled(watch, steps, run / FOLDER / f"{job.replace('/', '.')}.json.gz")
    try:
        yield watching
    finally:
        watching.close()
