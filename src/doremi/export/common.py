"""The plain value that every exporter turns into its trainer's files, and the rounding they share.

A `Blend` is a mixture together with what a trainer needs to know about the data behind it. Its weights are fractions
of tokens, rounded to `DECIMALS` places so that the printed decimals sum to exactly 1: some trainers check the sum, and
a person who adds up the file should find no remainder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.manifest import DomainEntry, TokenizerEntry
from doremi.corpus.value import Corpus
from doremi.errors import ExportError, MixtureError
from doremi.files import read_json
from doremi.mixture.files import read_mixture
from doremi.rundir.layout import RunDirectory

DECIMALS = 9  # a billionth: a thousand tokens in a trillion
_DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class Domain:
    """One domain of a blend; `epochs` is how often `weight` x budget tokens go through its training tokens."""

    name: str
    folder: str
    weight: Decimal
    tokens: int
    documents: int
    bytes: int
    epochs: Fraction

    @property
    def tokens_per_document(self) -> float:
        """Mean length of a training document in tokens, its end-of-text token included."""
        return self.tokens / self.documents


@dataclass(frozen=True)
class Blend:
    """A mixture over a corpus, in the corpus's order. `notes` are sentences that the reader of an export must know."""

    mixture: str
    domains: tuple[Domain, ...]
    budget_tokens: int
    run: RunDirectory
    corpus: Corpus  # as the run keeps it, without token files
    recorded: Mapping[str, Any]  # the rest of the mixture file: method, options, seeds, ...
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[Domain, ...]:
        """The domains with a positive weight."""
        return tuple(domain for domain in self.domains if domain.weight > 0)

    @property
    def dropped(self) -> tuple[Domain, ...]:
        """The domains with weight zero."""
        return tuple(domain for domain in self.domains if domain.weight == 0)

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
        return self.file(domain, "train.bin", domain.tokens, self.dtype)

    def train_ends(self, domain: Domain) -> Path:
        return self.file(domain, "train.ends", domain.documents, np.dtype("<u8"))


def round_to_one(weights: Sequence[float]) -> tuple[Decimal, ...]:
    """`weights` (not negative, `[K]`) as decimals of `DECIMALS` places that sum to exactly 1.

    Largest remainder: everything is rounded down, then the places that are left go to the largest remainders, the
    first of equals first, so nothing moves by a whole place. Zero stays zero, and a positive weight stays positive:
    what lifts the tiny ones to one place is taken from the largest weight.
    """
    places = 10**DECIMALS
    exact = [Fraction(weight) for weight in weights]
    total = sum(exact)
    shares = [weight * places / total for weight in exact]
    counts = [max(1, math.floor(share)) if share else 0 for share in shares]
    left = places - sum(counts)
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - shares[i])
    for i in by_remainder[: max(0, left)]:
        counts[i] += 1
    counts[counts.index(max(counts))] += min(0, left)
    return tuple(Decimal(count).scaleb(-DECIMALS) for count in counts)


def plain(number: Decimal) -> str:
    """A weight without an exponent: YAML 1.1 reads `1e-05` as text, and some trainers split on every letter."""
    return format(number, "f")


def as_documents(domains: Sequence[Domain]) -> tuple[Decimal, ...]:
    """Shares of documents whose tokens come in the shares `weight`: weight / tokens per document, normalised."""
    return round_to_one([float(domain.weight) / domain.tokens_per_document for domain in domains])


def refuse_in_path(path: Path, signs: str, trainer: str) -> None:
    """`ExportError` if `path` has one of `signs`, which `trainer` would misread; a blank stands for all white space."""
    for sign in str(path):
        if sign in signs or (" " in signs and sign.isspace()):
            raise ExportError(
                f"{path}: {trainer} cannot read a path with {sign!r} in it; rename the folder or choose another place"
            )


# -- from a run ------------------------------------------------------------------------------------------------------


def read_blend(run: RunDirectory, mixture: str | Path | None = None) -> Blend:
    """The blend to export: `mixture` (a name in the run, or a file), else the verdict's recommendation, else DoReMi's.

    Raises `MixtureError` for weights that do not fit the corpus or a mixture that is not there, `RunError` where the
    run has no corpus manifest, `ExportError` for a domain with weight but without tokens.
    """
    corpus = run.corpus()
    path, label = find_mixture(run, mixture)
    recorded = _recorded(path)
    try:
        exact = read_mixture(path).aligned(corpus.domains)
    except MixtureError as error:
        text = str(error)
        raise MixtureError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    budget, notes = _budget(run, corpus, recorded)
    domains = _domains(corpus, round_to_one(exact), budget)
    if _other_tokenizer(recorded, corpus):
        notes.append("the weights were found with another tokenizer than this corpus has")
    return Blend(label, domains, budget, run, corpus, recorded, tuple(notes))


def find_mixture(run: RunDirectory, mixture: str | Path | None) -> tuple[Path, str]:
    """Path and label of the mixture to export; see `read_blend`."""
    if mixture is None:
        mixture = _recommended(run)
        if mixture == "doremi" and not run.mixture_path("doremi").is_file():
            raise MixtureError(
                f"{run.root}: has no verdict and no mixture of DoReMi's yet. `doremi run` makes them. "
                "Or name another mixture with --mixture"
            )
    names = [name for name in ["doremi", *_plain_names(run)] if run.mixture_path(name).is_file()]
    if isinstance(mixture, str) and mixture in names:
        return run.mixture_path(mixture), mixture
    path = Path(mixture)
    if path.is_file():
        return path, path.name
    raise MixtureError(
        f"{run.root}: has no mixture {str(mixture)!r} (there are {', '.join(names) or 'none yet'}) and no such "
        "file is there. Name one of these or give the path of a mixture.json"
    )


def _recommended(run: RunDirectory) -> str:
    path = run.root / "verdict.json"
    if not path.exists():
        return "doremi"
    return read_json(path, "verdict")["recommendation"]["mixture"]


def _plain_names(run: RunDirectory) -> list[str]:
    return sorted(path.stem for path in (run.root / "mixtures").glob("*.json"))


def _recorded(path: Path) -> dict[str, Any]:
    """What a mixture file says beside its weights; nothing for a bare `{"domain": weight}`."""
    read_mixture(path)  # for its errors: from here on the file is JSON and an object
    value = json.loads(path.read_text(encoding="utf-8"))
    return {key: entry for key, entry in value.items() if key != "weights"} if "format" in value else {}


def _budget(run: RunDirectory, corpus: Corpus, recorded: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Tokens of the final run: of the mixture file, else of the run's own mixture, else one pass over the corpus."""
    own = run.mixture_path("doremi")
    for source in (recorded, _recorded(own) if own.is_file() else {}):
        budget = source.get("budget_tokens")
        if isinstance(budget, int | float) and 1 <= budget < math.inf:
            return int(budget), []
    total = sum(corpus.count("train", "tokens"))
    return total, ["no budget is recorded: the epochs are those of a run as long as the corpus"]


def _domains(corpus: Corpus, weights: Sequence[Decimal], budget: int) -> tuple[Domain, ...]:
    return tuple(
        _domain(name, entry, weight, budget)
        for (name, entry), weight in zip(corpus.entries.items(), weights, strict=True)
    )


def _domain(name: str, entry: DomainEntry, weight: Decimal, budget: int) -> Domain:
    tokens, documents = entry.train.tokens, entry.train.documents
    if weight > 0 and not (tokens and documents):
        raise ExportError(f"domain {name!r} has weight {plain(weight)} but no training tokens; give it weight 0")
    epochs = Fraction(weight) * budget / tokens if tokens else Fraction(0)
    return Domain(name, entry.folder, weight, tokens, documents, entry.train.bytes, epochs)


def _other_tokenizer(recorded: Mapping[str, Any], corpus: Corpus) -> bool:
    found_with = recorded.get("tokenizer")
    if not isinstance(found_with, dict) or "sha256" not in found_with:
        return False
    return found_with["sha256"] != corpus.tokenizer.sha256
