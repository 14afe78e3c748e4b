"""The mixtures and models that a configuration names, as values, and the records that a run leaves of mixtures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from doremi.config import PLAIN_MIXTURES, DomainLimits, LimitsConfig, RunConfig
from doremi.corpus.manifest import SplitCounts
from doremi.corpus.size import Size
from doremi.corpus.value import Corpus
from doremi.errors import MixtureError
from doremi.mixture.domains import Mixture, is_file_name
from doremi.mixture.limits import Constraints, Group, project
from doremi.mixture.plain import epochs, natural, temperature, uniform, unimax
from doremi.mixture.published import published_mixture, published_names, published_source
from doremi.mixture.record import DomainCounts, MixtureRecord, UsedTokenizer
from doremi.model.presets import shape


def candidate_name(mixture: str) -> str:
    """The folder of a mixture: its name, or a file's stem."""
    return Path(mixture).stem if mixture.endswith(".json") else mixture


def check_name(name: str, methods: Collection[str] = ()) -> None:
    """`MixtureError` if no mixture can have this name; a file need not exist yet, but its stem becomes a folder.

    `methods` are the names of the mixtures that search methods make.
    """
    own = [*methods, *PLAIN_MIXTURES]
    if name.endswith(".json"):
        stem = candidate_name(name)
        if not is_file_name(stem):
            raise MixtureError(f"the mixture file {name!r} cannot name a folder: rename it to letters, digits and _.-")
        if stem in [*own, *published_names()]:
            raise MixtureError(
                f"the mixture file {name!r} would be called {stem!r}, which is a mixture of doremi's own: rename the "
                f"file, or write {stem} for that mixture"
            )
    elif name not in own:
        published_mixture(name, own)


def check_names(names: Iterable[str], methods: Collection[str] = ()) -> None:
    """`MixtureError` if one of them cannot be a mixture's name, or two files would share theirs."""
    files: dict[str, str] = {}
    for name in names:
        check_name(name, methods)
        other = files.setdefault(candidate_name(name), name)
        if other != name:
            raise MixtureError(
                f"the mixture files {other!r} and {name!r} would both be called {candidate_name(name)!r}: "
                "rename one, or give one file by one path only"
            )


def mixture_named(config: RunConfig, corpus: Corpus, name: str, files: Mapping[str, Mixture]) -> Mixture:
    """A plain mixture by its name in the configuration, over exactly the corpus's domains, limits apart.

    `files` are the mixture files that are there, by their paths in the configuration.
    """
    if name in PLAIN_MIXTURES:
        mixture = _plain(config, corpus, name)
    else:
        mixture = files[name] if name in files else published_mixture(name)
    mixture.aligned(corpus.domains)
    return mixture


def _plain(config: RunConfig, corpus: Corpus, name: str) -> Mixture:
    """A mixture that follows from token counts alone: sizes for weights, training tokens for what may be repeated.

    Both of whole domains, also where only a sample was read."""
    tokens = dict(zip(corpus.domains, map(float, corpus.true_tokens()), strict=True))
    sizes = corpus.natural_sizes({name: domain.epochs for name, domain in config.data.domains.items()})
    make: dict[str, Callable[[], Mixture]] = {
        "natural": lambda: natural(sizes),
        "uniform": lambda: uniform(list(tokens)),
        "temperature": lambda: temperature(sizes, config.candidates.temperature),
        "unimax": lambda: unimax(tokens, config.budget, config.candidates.max_epochs),
    }
    return make[name]()


def limited(config: RunConfig, corpus: Corpus, mixture: Mixture) -> Mixture:
    """The nearest mixture that the configuration allows."""
    return within(config.limits, config.budget, corpus, mixture)


def within(limits: LimitsConfig, budget: int, corpus: Corpus, mixture: Mixture) -> Mixture:
    """The nearest mixture that `limits` allow; `MixtureError` if there is none, with the largest budget that has."""
    names = list(corpus.domains)
    caps = {name: _first(_own(limits, name).max_epochs, limits.max_epochs) for name in names}
    constraints = replace(
        _of_weights(limits, names),
        max_epochs={name: cap for name, cap in caps.items() if cap is not None},
        tokens=dict(zip(names, corpus.true_tokens(), strict=True)),
        budget_tokens=budget,
    )
    return project(mixture, corpus.domains, constraints)


def _of_weights(limits: LimitsConfig, names: Sequence[str]) -> Constraints:
    """What limits say of weights alone."""
    own = {name: _own(limits, name) for name in names}
    return Constraints(
        min_weight={n: _first(own[n].weight, own[n].min_weight, limits.min_weight) for n in names},
        max_weight={n: _first(own[n].weight, own[n].max_weight, limits.max_weight) for n in names},
        groups={n: Group(group.domains, group.min_weight, group.max_weight) for n, group in limits.groups.items()},
    )


def _own(limits: LimitsConfig, name: str) -> DomainLimits:
    return limits.domains.get(name, DomainLimits())


def check_limits(config: RunConfig, corpus: Corpus) -> None:
    """`MixtureError` for limits that no mixture keeps: they are said before any work."""
    limited(config, corpus, uniform(list(corpus.domains)))


def check_limits_of_weights(config: RunConfig) -> None:
    """The same for what they say of weights, which is known before there is a corpus."""
    names = list(config.domains)
    project(uniform(names), config.domains, _of_weights(config.limits, names))


def _first(*values: float | None) -> Any:
    """The first that is given; None if none is."""
    return next((value for value in values if value is not None), None)


def plain_record(config: RunConfig, corpus: Corpus, name: str, files: Mapping[str, Mixture]) -> MixtureRecord:
    """mixtures/<name>.json of a candidate that no search has found; limits leave the reference mixture as it is."""
    source = "a given file" if name in files else "token counts"
    if name in published_names():
        source = published_source(name)
    record = MixtureRecord(
        weights=dict(mixture_named(config, corpus, name, files).weights), method=candidate_name(name), source=source
    )
    limits = LimitsConfig() if name == config.reference.mixture else config.limits
    return allowed(limits, config.budget, corpus, record)


def allowed(limits: LimitsConfig, budget: int, corpus: Corpus, record: MixtureRecord) -> MixtureRecord:
    """A record with the nearest allowed mixture in place of its own, and what that means in this corpus."""
    found = record.mixture
    mixture = within(limits, budget, corpus, found)
    passes = epochs(mixture, dict(zip(corpus.domains, corpus.true_tokens(), strict=True)), budget)
    domains = {name: _counts(entry.train, corpus.sizes[name], passes[name]) for name, entry in corpus.entries.items()}
    changed = {name: found[name] for name in corpus.domains} if mixture != found else None
    return record.model_copy(
        update={
            "weights": {name: mixture[name] for name in corpus.domains},
            "before_limits": changed,
            "tokenizer": UsedTokenizer(sha256=corpus.tokenizer.sha256, vocab_size=corpus.tokenizer.vocab_size),
            "budget_tokens": budget,
            "domains": domains,
        }
    )


def _counts(train: SplitCounts, size: Size, passes: float) -> DomainCounts:
    """What a record says of a domain: of the whole of it, where only a part was read."""
    factor = Fraction(size.train, train.tokens) if size.how != "counted" else 1
    return DomainCounts(
        tokens=size.train,
        documents=round(train.documents * factor),
        bytes=round(train.bytes * factor),
        tokens_per_document=train.tokens / train.documents,
        epochs=passes,
        size=None if size.how == "counted" else size.how,
        read_tokens=None if size.how == "counted" else train.tokens,
    )


def shape_of(config: RunConfig, size: str | None = None) -> dict[str, Any]:
    """The model's description: the run's own, or a preset named as a candidate's size."""
    if size is None or size == config.size_name:
        return shape(config.model.preset, config.model.architecture, config.model.options)
    return shape(size, None, {})
