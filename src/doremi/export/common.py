"""The plain value that every exporter turns into its trainer's files, and the rounding they share.

A `Blend` is a mixture together with what a trainer needs to know about the data behind it. Its weights are fractions
of tokens, rounded to `DECIMALS` places so that the printed decimals sum to exactly 1: some trainers check the sum, and
a person who adds up the file should find no remainder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from doremi.corpus.manifest import DomainEntry, TokenizerEntry
from doremi.corpus.size import Size
from doremi.corpus.value import Corpus
from doremi.errors import ExportError, MixtureError, RunError
from doremi.mixture.domains import Mixture
from doremi.mixture.record import MixtureRecord, read_record, same_weights
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import named_mixtures, nodes_of
from doremi.rundir.nodes import Nodes
from doremi.verdict.current import outdated
from doremi.verdict.values import FILE as VERDICT
from doremi.verdict.values import read_verdict

DECIMALS = 9  # a billionth: a thousand tokens in a trillion
TRAINED_ON = ("reference", "main", "longer", "own")  # roles of ordinary trainings on the weights of a mixture
_DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class Domain:
    """One domain of a blend; `epochs` is how often `weight` x budget tokens go through the `size` of the whole of it.

    `tokens`, `documents` and `bytes` are those of the token files, which may hold a sample."""

    name: str
    folder: str
    weight: Decimal
    tokens: int
    documents: int
    bytes: int
    epochs: Fraction
    size: Size

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
    record: MixtureRecord  # what the mixture's file says: method, options, seeds, ...
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


def decimal_text(number: Decimal) -> str:
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
    """The blend to export: `mixture` (a name in the run, or a file), else the recommended one, else the first found.

    Raises `MixtureError` for weights that do not fit the corpus or a mixture that is not there, `RunError` where the
    run has no corpus manifest or its verdict is of other models, `ExportError` for a domain with weight but without
    tokens.
    """
    corpus, nodes = run.corpus(), nodes_of(run)
    path, label = find_mixture(run, nodes, mixture)
    record = read_record(path)
    try:
        exact = record.mixture.aligned(corpus.domains)
    except MixtureError as error:
        raise MixtureError(f"{path}: {error}") from None
    budget = _budget(run, nodes, record)
    notes = []
    if budget is None:
        notes.append("no budget is recorded: the epochs are those of a run as long as the corpus")
    if _other_tokenizer(record, corpus):
        notes.append("the weights were found with another tokenizer than this corpus has")
    if not _is_trained_on(run, nodes, record.mixture):
        notes.append("no model of this run was trained on these weights, so it is not known how good they are")
    notes += _parts(corpus)
    tokens = sum(corpus.true_tokens()) if budget is None else budget
    return Blend(label, _domains(corpus, round_to_one(exact), tokens), tokens, run, corpus, record, tuple(notes))


def find_mixture(run: RunDirectory, nodes: Nodes | None, mixture: str | Path | None) -> tuple[Path, str]:
    """Path and label of the mixture to export; see `read_blend`."""
    files = {one.name: run.place(one.place) for one in named_mixtures(nodes) if one.place is not None}
    files = {name: path for name, path in files.items() if path.is_file()}
    if mixture is None:
        mixture = _recommended(run) or _first_found(run, nodes, files)
    if isinstance(mixture, str) and mixture in files:
        return files[mixture], mixture
    path = Path(mixture)
    if path.is_file():
        return path, path.name
    raise MixtureError(
        f"{run.root}: has no mixture {str(mixture)!r} (there are {', '.join(files) or 'none yet'}) and no such "
        "file is there. Name one of these or give the path of a mixture.json"
    )


def _recommended(run: RunDirectory) -> str | None:
    """The verdict's choice, None without one; `RunError` for a verdict of other models than the run has now."""
    if not (run.root / VERDICT).exists():
        return None
    verdict = read_verdict(run.root)
    if why := outdated(run, run.nodes(), verdict):
        raise RunError(f"{run.root}: {why} Compare again with: doremi run {run.root}, or name a mixture with --mixture")
    return verdict.recommendation.mixture


def _first_found(run: RunDirectory, nodes: Nodes | None, files: Mapping[str, Path]) -> str:
    first = next((one.name for one in named_mixtures(nodes) if one.role == "found" and one.name in files), None)
    if first is None:
        raise MixtureError(
            f"{run.root}: has no verdict, and no search has found a mixture yet. `doremi run` makes them. "
            "Or name another mixture with --mixture"
        )
    return first


def _budget(run: RunDirectory, nodes: Nodes | None, record: MixtureRecord) -> int | None:
    """Tokens of the final run: of the mixture's file, else of one that the run has found; None if neither says."""
    places = [one.place for one in named_mixtures(nodes) if one.role == "found" and one.place is not None]
    found = [run.mixture(place) for place in places if run.place(place).is_file()]
    stated = [one.budget_tokens for one in (record, *found) if one.budget_tokens is not None]
    return next((int(budget) for budget in stated if 1 <= budget < math.inf), None)


def _is_trained_on(run: RunDirectory, nodes: Nodes | None, mixture: Mixture) -> bool:
    """Whether a finished model has these weights, but for the rounding of an export."""
    folders = [run.training(node) for node in (nodes.nodes if nodes else ()) if node.role in TRAINED_ON]
    stages = [folder.stage() for folder in folders if folder is not None and folder.finished]
    return any(same_weights(mixture.weights, stage["mixture"]) for stage in stages)


def _domains(corpus: Corpus, weights: Sequence[Decimal], budget: int) -> tuple[Domain, ...]:
    return tuple(
        _domain(name, entry, weight, budget, corpus.sizes[name])
        for (name, entry), weight in zip(corpus.entries.items(), weights, strict=True)
    )


def _domain(name: str, entry: DomainEntry, weight: Decimal, budget: int, size: Size) -> Domain:
    tokens, documents = entry.train.tokens, entry.train.documents
    if weight > 0 and not (tokens and documents):
        raise ExportError(f"domain {name!r} has weight {decimal_text(weight)} but no training tokens; give it weight 0")
    epochs = Fraction(weight) * budget / size.train if tokens else Fraction(0)
    return Domain(name, entry.folder, weight, tokens, documents, entry.train.bytes, epochs, size)


def _parts(corpus: Corpus) -> list[str]:
    """A note on the domains whose token files hold only a part of them."""
    about = {True: "", False: "about "}
    parts = [
        f"{name!r} ({corpus.entries[name].train.tokens:,} of {about[size.exact]}{size.train:,} tokens)"
        for name, size in corpus.sizes.items()
        if size.how != "counted"
    ]
    return [f"the token files hold only a part of {', '.join(parts)}: epochs count the whole"] if parts else []


def _other_tokenizer(record: MixtureRecord, corpus: Corpus) -> bool:
    return record.tokenizer is not None and record.tokenizer.sha256 != corpus.tokenizer.sha256
