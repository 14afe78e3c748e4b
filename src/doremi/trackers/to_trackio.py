"""trackio: one run a training, a run directory as its project."""

from __future__ import annotations

from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from doremi.events.event import Began, Evaluated, Event, Failed, Finished, Measured, Stopped
from doremi.trackers.figures import description, figures, run_id, safe_name


class Trackio:
    """Logs to trackio's database on this machine (TRACKIO_DIR)."""

    name, package = "trackio", "trackio"

    def __init__(self, run: Path) -> None:
        self._project = run.name
        self._run: Any = None
        self._domains: tuple[str, ...] = ()

    def hear(self, event: Event) -> None:
        if isinstance(event, Began):
            trackio: Any = import_module("trackio")  # an extra: it may not be there

            self._domains = event.domains
            with redirect_stdout(StringIO()):  # it prints, and ours is the verdict's
                self._run = trackio.init(
                    project=self._project, name=f"{safe_name(event.job)}-{run_id(event)}", group=self._project,
                    resume="allow", config=description(event), embed=False, auto_log_gpu=False, auto_log_cpu=False,
                )  # fmt: skip
        elif self._run is None:
            return
        elif isinstance(event, (Measured, Evaluated)):
            self._run.log(figures(event, self._domains), step=event.step)
        elif isinstance(event, (Finished, Stopped, Failed)):
            self._run = None
            with redirect_stdout(StringIO()):
                import_module("trackio").finish()  # and not run.finish(): that would print again as the process ends
