"""The server that workers are forked from, begun while the command itself still loads.

Each takes some seconds to import the same things, one core each. Knows no torch.
"""

from __future__ import annotations

import os
import signal
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.context import ForkServerContext

from doremi.config import RunConfig
from doremi.lent import available_cores

LOADED = ["doremi.executors.bound", "doremi.executors.preload"]
FOR_THE_COMMAND = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""Signals that a terminal or a scheduler sends to all processes. The command hears them, and asks workers to stop."""


def context() -> ForkServerContext:
    """Processes that begin within milliseconds, once their server is there.

    The server has these signals blocked: by itself it would die of Ctrl-C with a traceback while it loads.
    """
    found = get_context("forkserver")
    found.set_forkserver_preload(LOADED)
    resource_tracker.ensure_running()  # the server would begin it, and that lets SIGINT through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_COMMAND)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return found


def begin(config: RunConfig) -> None:
    """Begin the server where several trainings at once are likely. One that is not needed ends with the command."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone and config.executor == "local" and config.workers != 1 and available_cores() > 1:
        context()
