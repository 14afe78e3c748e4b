"""The server that workers are forked from, begun while the command itself still loads.

Each takes some seconds to import the same things, one core each. Knows no torch.
"""

from __future__ import annotations

import os
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

from doremi.config import RunConfig
from doremi.pipeline.host import available_cores

LOADED = ["doremi.executors.preload"]


def context() -> ForkServerContext:
    """Processes that begin within milliseconds, once their server is there."""
    found = get_context("forkserver")
    found.set_forkserver_preload(LOADED)
    return found


def begin(config: RunConfig) -> None:
    """Begin the server where several trainings at once are likely. One that is not needed ends with the command."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone and config.executor == "local" and config.workers != 1 and available_cores() > 1:
        context()
        forkserver.ensure_running()
