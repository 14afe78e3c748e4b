"""Who does the trainings of a run, as its configuration says."""

from __future__ import annotations

from contextlib import AbstractContextManager

from doremi.corpus.value import Corpus
from doremi.executors.connection import STARTED_HERE, check_installed
from doremi.executors.here import Here
from doremi.executors.processes import Processes
from doremi.pipeline.executor import Executor
from doremi.pipeline.host import this_host
from doremi.pipeline.workspace import Workspace
from doremi.rundir.machine import Host

LOCAL = "local"


def check_executor(executor: str) -> None:
    """`ConfigError` where what it needs is not installed."""
    if executor != LOCAL:
        check_installed()


class Chosen:
    """As `executor` says: one training after another in this process, several in their own, or tasks of Ray."""

    def host(self, space: Workspace) -> Host:
        """What may be used; `RunError` or `ConfigError` where Ray is asked for and is not there."""
        executor = space.config.executor
        if space.world.size > 1 or executor == LOCAL:
            return this_host()
        check_executor(executor)
        if executor == STARTED_HERE:
            return this_host()
        from doremi.executors.rays import cluster

        return cluster(executor)

    def open(self, space: Workspace, corpus: Corpus | None, at_once: int) -> AbstractContextManager[Executor]:
        """Whoever leaves the context has ended what still went on."""
        if space.world.size > 1:
            return Here(space, corpus)
        if space.config.executor != LOCAL:
            from doremi.executors.rays import RayTasks

            return RayTasks(space, at_once)
        return Here(space, corpus) if at_once == 1 else Processes(space, at_once)


chosen = Chosen()
