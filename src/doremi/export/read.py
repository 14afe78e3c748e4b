"""The blend to export: a mixture of a run over the run's own data, or over the user's paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from doremi.corpus.value import Corpus
from doremi.errors import ExportError, MixtureError
from doremi.export.blend import Blend, Domain, Part
from doremi.export.choose import find_mixture, is_trained_on, recorded_budget
from doremi.export.mapping import Place, Places
from doremi.export.measure import Measured, bytes_at, measure_index, measure_text
from doremi.export.rounding import decimal_text, round_to_one
from doremi.export.sizes import domain_tokens, parts_read
from doremi.mixture.record import MixtureRecord, read_record
from doremi.rundir.layout import RunDirectory
from doremi.rundir.named import nodes_of


@dataclass(frozen=True)
class Asked:
    """What a user asks of an export. `lengths`: whether the target counts documents, so that text is measured."""

    mixture: str | Path | None = None
    budget: int | None = None
    places: Mapping[str, Places] = field(default_factory=dict)
    lengths: bool = True


def read_blend(run: RunDirectory, mixture: str | Path | None = None, asked: Asked | None = None) -> Blend:
    """The blend that is `asked` for, `mixture` for short; without a mixture the recommended one, else the first found.

    Raises `MixtureError` for weights that do not fit the corpus or a mixture that is not there, `RunError` where the
    run has no corpus manifest or its verdict is of other models, `ExportError` for a domain with weight but without
    tokens. Whether paths are complete is for callers to check, who may have other weights.
    """
    asked = asked or Asked(mixture)
    corpus, nodes = run.corpus(), nodes_of(run)
    path, label = find_mixture(run, nodes, asked.mixture)
    record = read_record(path)
    try:
        exact = record.mixture.aligned(corpus.domains)
    except MixtureError as error:
        raise MixtureError(f"{path}: {error}") from None
    recorded = recorded_budget(run, nodes, record) if asked.budget is None else asked.budget
    notes = _remarks(record, corpus, recorded)
    notes += parts_read(corpus, (name for name in corpus.domains if name not in asked.places))
    if not is_trained_on(run, nodes, record.mixture):
        notes.append("no model of this run was trained on these weights, so it is not known how good they are")
    read = [_Reader(corpus, asked, notes).domain(*one) for one in zip(corpus.domains, round_to_one(exact), strict=True)]
    budget = recorded or sum(domain.tokens or 0 for domain in read)
    domains = tuple(replace(domain, budget=budget) for domain in read)
    return Blend(label, domains, budget, run, corpus, record, tuple(notes))


def _remarks(record: MixtureRecord, corpus: Corpus, budget: int | None) -> list[str]:
    notes = []
    if budget is None:
        notes.append("no budget is recorded: the epochs are those of a run as long as the corpus")
    if record.tokenizer is not None and record.tokenizer.sha256 != corpus.tokenizer.sha256:
        notes.append("the weights were found with another tokenizer than this corpus has")
    return notes


@dataclass
class _Reader:
    """Makes domains, and notes what a reader of the export must know of their sizes."""

    corpus: Corpus
    asked: Asked
    notes: list[str]

    def domain(self, name: str, weight: Decimal) -> Domain:
        places = self.asked.places.get(name)
        entry = self.corpus.entries[name]
        if places is not None:
            return self._mapped(name, entry.folder, weight, places)
        train = entry.train
        if weight > 0 and not (train.tokens and train.documents):
            raise ExportError(
                f"domain {name!r} has weight {decimal_text(weight)} but no training tokens; give it weight 0"
            )
        tokens = domain_tokens(self.corpus, name, None, is_mapped=False)
        mean = train.tokens / train.documents if train.documents else None
        return Domain(name, entry.folder, weight, tokens, train.documents, train.bytes, mean)

    def _mapped(self, name: str, folder: str, weight: Decimal, places: Places) -> Domain:
        itemsize = 2 if self.corpus.dtype == "uint16" else 4
        found = [measure_index(place.path, itemsize) for place in places.paths]
        sizes = [place.tokens or one.tokens for place, one in zip(places.paths, found, strict=True)]
        mean = self._mean(name, places, found)
        whole = places.all_tokens or (sum(size or 0 for size in sizes) if all(sizes) else None)
        tokens = domain_tokens(self.corpus, name, whole, is_mapped=True)
        if tokens is None and weight > 0:
            self.notes.append(f"how many tokens {name!r} has is not known, so its epochs are not: give `tokens`")
        shares = self._shares(name, places, sizes)
        parts = tuple(
            Part(place.path, share, place.tokens_per_document or one.tokens_per_document or mean)
            for place, one, share in zip(places.paths, found, shares, strict=True)
        )
        documents = round(tokens / mean) if tokens and mean else None
        return Domain(name, folder, weight, tokens, documents, None, mean, parts)

    def _mean(self, name: str, places: Places, found: list[Measured]) -> float | None:
        """The mean length: given, else out of indices, else measured on the head of text files that lie here."""
        if places.tokens_per_document is not None:
            return places.tokens_per_document
        given = _mean_of(places.paths, found)
        if given is not None or not self.asked.lengths:
            return given
        documents = [one.documents for one in found]
        if places.all_tokens and all(documents):
            return places.all_tokens / sum(one or 0 for one in documents)
        text = measure_text([place.path for place in places.paths], self.corpus.folder / "tokenizer", name)
        if text.read:
            self.notes.append(f"the mean length of {name!r} was measured on {text.read} documents at its paths")
        return text.tokens_per_document

    def _shares(self, name: str, places: Places, sizes: list[int | None]) -> list[Fraction | None]:
        """How a domain's tokens divide into its paths: by tokens, else by bytes where all can be seen here."""
        if len(sizes) == 1:
            return [Fraction(1)]
        if not all(sizes):
            sizes = [bytes_at(place.path) for place in places.paths]
            if not all(sizes):
                return [None] * len(sizes)
            self.notes.append(f"the paths of {name!r} divide it by their bytes; give `tokens` of each path for more")
        total = sum(size or 0 for size in sizes)
        return [Fraction(size or 0, total) for size in sizes]


def _mean_of(places: tuple[Place, ...], found: list[Measured]) -> float | None:
    """Tokens a document over all paths, where each path says both."""
    tokens, documents = 0.0, 0.0
    for place, one in zip(places, found, strict=True):
        mean, size = place.tokens_per_document or one.tokens_per_document, place.tokens or one.tokens
        if mean is None or (size is None and len(places) > 1):
            return None
        tokens += size or mean
        documents += (size or mean) / mean
    return tokens / documents
