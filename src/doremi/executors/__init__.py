"""Who does the trainings of a run: this process, several on this machine, Ray; or `doremi job` under Slurm."""

from __future__ import annotations

from contextlib import AbstractContextManager

from doremi.corpus.value import Corpus
from doremi.executors.here import Here
from doremi.executors.processes import Processes
from doremi.pipeline.executor import Executor
from doremi.pipeline.workspace import Workspace


def chosen(space: Workspace, corpus: Corpus, at_once: int) -> AbstractContextManager[Executor]:
    """One training after another in this process, or several in processes of their own."""
    return Here(space, corpus) if at_once == 1 else Processes(space, at_once)
