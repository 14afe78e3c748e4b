"""Weights & Biases: one run a training, all of a run directory in one group."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from doremi.events.event import Began, Evaluated, Event, Failed, Finished, Measured, Stopped
from doremi.trackers.figures import description, figures, run_id, safe_name

PROJECT = "doremi"  # unless WANDB_PROJECT names another
START_SECONDS, FINISH_SECONDS = 30.0, 60.0  # after which a training goes on, and ends, without it


class WeightsAndBiases:
    """Logs to W&B, offline with WANDB_MODE=offline. Steps that a resumed training repeats are ignored by it."""

    name, package = "Weights & Biases", "wandb"

    def __init__(self, run: Path) -> None:
        self._folder = run
        self._run: Any = None
        self._domains: tuple[str, ...] = ()

    def hear(self, event: Event) -> None:
        if isinstance(event, Began):
            self._domains = event.domains
            self._run = self._begin(event)
        elif self._run is None:
            return
        elif isinstance(event, (Measured, Evaluated)):
            self._run.log(figures(event, self._domains), step=event.step)
        elif isinstance(event, (Finished, Stopped, Failed)):
            run, self._run = self._run, None
            run.finish(exit_code=int(isinstance(event, Failed)))

    def _begin(self, event: Began) -> Any:
        wandb: Any = import_module("wandb")  # an extra: it may not be there

        settings = wandb.Settings(
            init_timeout=START_SECONDS, login_timeout=START_SECONDS, finish_timeout=FINISH_SECONDS, silent=True,
            console="off", disable_git=True, disable_code=True, disable_job_creation=True, x_disable_meta=True,
            x_disable_stats=True,
        )  # fmt: skip
        if not _may_begin(wandb):
            raise RuntimeError("not logged in: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline")
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), group=self._folder.name, name=safe_name(event.job),
            id=run_id(event), resume="allow", dir=str(self._folder), config=description(event), settings=settings,
            reinit="create_new",
        )  # fmt: skip


def _may_begin(wandb: Any) -> bool:
    """Whether `init` need not ask anybody for a key."""
    return os.environ.get("WANDB_MODE", "online") != "online" or bool(wandb.login(prompt=False))
