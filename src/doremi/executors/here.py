"""One task after another, in this process (or, under `torchrun`, in all of them together)."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType

from doremi.corpus.value import Corpus
from doremi.errors import DoremiError
from doremi.pipeline.executor import Ended, Task
from doremi.pipeline.work import do
from doremi.pipeline.workspace import Workspace


class Here:
    """An executor with one place."""

    places = 1

    def __init__(self, space: Workspace, corpus: Corpus | None) -> None:
        self.space, self.corpus = space, corpus
        self._ended: list[Ended] = []

    def __enter__(self) -> Here:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        """Nothing of it goes on."""

    def start(self, task: Task) -> None:
        try:
            do(replace(self.space, config=task.config), self.corpus, task.node, task.settings)
        except DoremiError as error:
            if self.space.world.size > 1:  # the others would wait for this process
                raise
            self._ended.append(Ended(task.node, error))
        else:
            self._ended.append(Ended(task.node))

    def wait(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Whoever asks does so between two tasks."""
