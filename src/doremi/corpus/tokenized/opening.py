"""The domains of a request whose files hold tokens, opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from doremi.corpus.parts import PrepareRequest, Stop
from doremi.corpus.sources import DomainFiles
from doremi.corpus.tokenized.reading import Reading, Wanted, reading_of
from doremi.corpus.tokenizer import TextTokenizer
from doremi.errors import ConfigError, Interrupted
from doremi.mixture.domains import folder_name

SCANS = "scans"


@dataclass(frozen=True)
class Opening:
    """What opening takes, the same for all domains. `most` bounds the tokens of a domain, for an estimate."""

    request: PrepareRequest
    folder: Path
    tokenizer: TextTokenizer | None
    stop: Stop
    progress: Callable[[str, int, int], None]
    most: int | None = None

    def of(self, name: str, files: DomainFiles) -> Reading | None:
        """None for a domain of text. `ConfigError` where no tokenizer is named, `DataError` for wrong files."""
        asked = self.wanted(name)
        return None if asked is None else reading_of(asked, files.train, files.validation)

    def wanted(self, name: str) -> Wanted | None:
        """How the files of a domain of tokens are read; None for a domain of text."""
        source = self.request.domains[name]
        if source.ids is None:
            return None
        if self.tokenizer is None:
            raise ConfigError(
                f"domain {name!r} holds tokens, and data.tokenizer is null; name the tokenizer that made them"
            )
        wanted = [number for number in (source.sample_tokens, self.most) if number is not None]
        return Wanted(
            name, source.ids, self.tokenizer, self.request.piece_length, self.folder / folder_name(name),
            self.folder / SCANS, min(wanted, default=None), self._check, self.progress,
        )  # fmt: skip

    def _check(self) -> None:
        if self.stop():
            raise Interrupted("stopped while reading files of tokens")
