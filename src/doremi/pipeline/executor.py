"""What does the nodes of a run: this process, or others (executors/).

A `Task` is all that it takes to do one node, so that it can be handed to another process or another machine that has
the same folders.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from doremi.config import RunConfig, TrainingConfig
from doremi.corpus.value import Corpus
from doremi.pipeline.workspace import Workspace
from doremi.rundir.machine import Host
from doremi.rundir.node import Node


@dataclass(frozen=True)
class Task:
    """One node whose needs are done."""

    config: RunConfig
    node: Node
    settings: TrainingConfig | None
    """Of the run's trainings, with every `auto` replaced; None for a part of the corpus, before that is there."""


@dataclass(frozen=True)
class Ended:
    """What became of a task."""

    node: Node
    error: BaseException | None = None
    """None if it is done."""
    trace: str = ""
    """Where a mistake of ours happened, as text."""
    lost: str = ""
    """How its process ended, where it ended without a word."""


class Executor(Protocol):
    """Does tasks, as many at once as it has places."""

    places: int

    def start(self, task: Task) -> None:
        """Begin one; there is a free place."""
        ...

    def wait(self) -> list[Ended]:
        """What has ended since, after a short while at the latest. Passes on what the tasks tell."""
        ...

    def stop(self) -> None:
        """Ask all to save their work and end. `wait` says when they have."""
        ...


class Executors(Protocol):
    """Makes one as the configuration says."""

    def host(self, space: Workspace) -> Host:
        """What may be used for trainings. Asked before anything else, so that what is missing is told at once."""
        ...

    def open(self, space: Workspace, corpus: Corpus | None, at_once: int) -> AbstractContextManager[Executor]:
        """One for so many tasks at once; whoever leaves the context has ended what still went on.

        `corpus` is what trainings read, None before it is there."""
        ...
