"""The plain value that every target turns into its trainer's files.

A `Blend` is a mixture together with what a trainer needs to know about the data behind it: the run's own token files,
or the user's paths. Weights of domains are fractions of tokens. Entries carry what the trainer counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from doremi.corpus.manifest import TokenizerEntry
from doremi.corpus.value import Corpus
from doremi.errors import ExportError
from doremi.mixture.record import MixtureRecord
from doremi.rundir.layout import RunDirectory

_DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class Part:
    """One path of a domain, as the trainer will see it. What is None is not known.

    `share` is its part of the domain's tokens. It is None where nothing says how the domain divides into its paths.
    """

    path: str
    share: Fraction | None = None
    tokens_per_document: float | None = None


@dataclass(frozen=True)
class Domain:
    """One domain of a blend. `epochs` is how often `weight` x budget tokens go through its tokens.

    `tokens` is the true size, of which the search may have seen a part. Counts that are None are not known.
    """

    name: str
    folder: str
    weight: Decimal
    tokens: int | None
    documents: int | None
    bytes: int | None
    tokens_per_document: float | None
    """Mean length of a training document in tokens, its end-of-text token included."""
    parts: tuple[Part, ...] = ()
    """The user's paths. Without any, the run's own token files."""
    budget: int = 0

    @property
    def epochs(self) -> Fraction | None:
        """None where the size is not known."""
        if not self.tokens:
            return None if self.weight else Fraction()
        return Fraction(self.weight) * self.budget / self.tokens

    @property
    def length(self) -> Fraction:
        """Tokens a document; `ExportError` where it is not known."""
        if not self.tokens_per_document:
            raise ExportError(
                f"domain {self.name!r}: this trainer counts documents or samples, and nothing says how many tokens one "
                "has. Give `tokens_per_document` in the file of --paths, or paths that can be read here"
            )
        return Fraction(self.tokens_per_document)


@dataclass(frozen=True)
class Entry:
    """One weight of an export, in what the trainer counts. `key` is what its file calls it."""

    domain: Domain
    key: str
    paths: tuple[str, ...]
    weight: Decimal
    tokens_per_unit: float
    """1 where the trainer counts tokens, else the mean length that the weight was divided by."""


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own weights. `start` is the share of the budget that comes before it."""

    start: Fraction
    blend: Blend


@dataclass(frozen=True)
class Blend:
    """A mixture over a corpus, in the corpus's order. `notes` are sentences that the reader of an export must know."""

    mixture: str
    domains: tuple[Domain, ...]
    budget_tokens: int
    run: RunDirectory
    corpus: Corpus  # as the run keeps it, without token files
    record: MixtureRecord  # what the mixture's file says: method, options, seeds, ...
    notes: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    stages: tuple[Stage, ...] = ()
    """With a schedule. `domains` then have the average."""
    step_tokens: int | None = None

    @property
    def mapped(self) -> bool:
        """Whether domains stand for the user's own data."""
        return any(domain.parts for domain in self.domains)

    @property
    def weights(self) -> dict[str, Decimal]:
        """The weight of each entry by what the file calls it, in order."""
        return {entry.key: entry.weight for entry in self.entries}

    @property
    def units(self) -> int:
        """How many of what the trainer counts are in the budget, on average."""
        return max(1, round(self.budget_tokens / sum(float(one.weight) * one.tokens_per_unit for one in self.entries)))

    @property
    def kept(self) -> tuple[Domain, ...]:
        """The domains with a positive weight."""
        return tuple(domain for domain in self.domains if domain.weight > 0)

    @property
    def dropped(self) -> tuple[Domain, ...]:
        """The domains that no entry is of."""
        named = {entry.domain.name for entry in self.entries}
        return tuple(domain for domain in self.domains if domain.name not in named)

    def noted(self, *notes: str) -> Blend:
        return replace(self, notes=(*self.notes, *notes))

    @property
    def tokenizer(self) -> TokenizerEntry:
        return self.corpus.tokenizer

    @cached_property
    def whole_corpus(self) -> Corpus:
        """The corpus with its token files, which lie beside the run; `RunError` where they are gone."""
        return self.run.whole_corpus()

    @property
    def tokenizer_folder(self) -> Path:
        return self.corpus.folder.resolve() / "tokenizer"

    @property
    def dtype(self) -> np.dtype:
        """Type of a token in the `.bin` files; `ExportError` if it is not one that formats.md knows."""
        name = self.corpus.dtype
        if name not in _DTYPES:
            raise ExportError(f"{self.corpus.folder / 'manifest.json'}: dtype {name!r} is not uint16 or uint32")
        return _DTYPES[name]

    def file(self, domain: Domain, name: str, items: int, dtype: np.dtype) -> Path:
        """Absolute path of a corpus file that holds `items` of `dtype`; `ExportError` if it is missing or cut short."""
        path = self.whole_corpus.path(domain.name, name)
        expected = items * dtype.itemsize
        if not path.is_file():
            raise ExportError(f"{path}: missing, but the trainer reads it; copy it here or prepare the corpus again")
        if path.stat().st_size != expected:
            raise ExportError(
                f"{path}: has {path.stat().st_size} bytes where the manifest says {expected}; prepare the corpus again"
            )
        return path.resolve()

    def train_tokens(self, domain: Domain) -> Path:
        """The run's own file; `ExportError` where the domain's tokens are used in the user's files."""
        if (in_place := self.corpus.entries[domain.name].in_place) is not None:
            raise ExportError(
                f"domain {domain.name!r}: its tokens are used where they lie (files: {len(in_place.files):,}, the "
                f"first is {self.corpus.place(domain.name, 0)}). Name what your trainer reads with --path "
                f"{domain.name}=PLACE"
            )
        return self.file(domain, "train.bin", self.corpus.entries[domain.name].train.tokens, self.dtype)

    def train_ends(self, domain: Domain) -> Path:
        return self.file(domain, "train.ends", self.corpus.entries[domain.name].train.documents, np.dtype("<u8"))
