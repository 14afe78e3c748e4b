"""What all steps of a preparation are told, and the processes that encode for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from doremi.corpus.bpe import Progress as TrainingProgress
from doremi.corpus.encoding import Encoder, Spec, worker_count
from doremi.corpus.parts import PrepareRequest, Stop
from doremi.corpus.tokenizer import TextTokenizer

Progress = Callable[[str, int, int], None]
REPORT_EVERY = 1 << 20  # bytes of files between two calls of `progress`


@dataclass
class Work:
    """One preparation, or a part of it. Use it in a `with`: its encoder's processes end there."""

    request: PrepareRequest
    folder: Path
    key: str
    """The corpus's."""
    progress: Progress
    stop: Stop
    training: TrainingProgress | None = None
    known: dict[str, dict[Any, Any]] = field(default_factory=dict)
    """By domain of tokens, documents that are decoded already."""
    tokenizer: TextTokenizer | None = None
    """That of the preparation, where this process has begun it."""
    _encoder: Encoder | None = None
    _spec: Spec | None = None

    def __enter__(self) -> Work:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._encoder is not None:
            self._encoder.__exit__(kind, error, trace)
            self._encoder = None

    def encoder(self, spec: Spec) -> Encoder:
        """The one of this work, started when it is first asked for."""
        if self._encoder is None:
            self._encoder, self._spec = Encoder(spec, worker_count(self.request.workers)).__enter__(), spec
        assert spec == self._spec, "a preparation has one tokenizer"
        return self._encoder
