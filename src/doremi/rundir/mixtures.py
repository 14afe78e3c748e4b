"""The mixtures of a run: by the names that the configuration uses, and as the files that the run leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from doremi.config import PLAIN_MIXTURES, DomainLimits, RunConfig
from doremi.corpus.value import Corpus
from doremi.errors import MixtureError, RunError
from doremi.files import FORMAT
from doremi.mixture.domains import Mixture, is_file_name
from doremi.mixture.files import read_mixture
from doremi.mixture.limits import Constraints, Group, project
from doremi.mixture.names import LEARNED, PER_SEED
from doremi.mixture.plain import epochs, natural, temperature, uniform, unimax
from doremi.mixture.published import published_mixture, published_names, published_source
from doremi.rundir.layout import RunDirectory


def candidate_name(mixture: str) -> str:
    """The folder of a mixture: its name, or a file's stem."""
    return Path(mixture).stem if mixture.endswith(".json") else mixture


def plain_candidates(config: RunConfig) -> list[str]:
    """Folder names of the candidates that no search has found."""
    return [candidate_name(name) for name in config.plain_mixtures()]


def check_name(name: str) -> None:
    """`MixtureError` if no mixture can have this name; a file need not exist yet, but its stem becomes a folder."""
    own = [LEARNED, PER_SEED, *PLAIN_MIXTURES]
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


def check_names(names: Iterable[str]) -> None:
    """`MixtureError` if one of them cannot be a mixture's name, or two files would share theirs."""
    files: dict[str, str] = {}
    for name in names:
        check_name(name)
        other = files.setdefault(candidate_name(name), name)
        if other != name:
            raise MixtureError(
                f"the mixture files {other!r} and {name!r} would both be called {candidate_name(name)!r}: "
                "rename one, or give one file by one path only"
            )


def mixture_named(config: RunConfig, directory: RunDirectory, corpus: Corpus, name: str) -> Mixture:
    """A mixture by its name in the configuration, over exactly the corpus's domains."""
    check_name(name)
    if name == "doremi":
        path = directory.mixture_path("doremi")
        if not path.exists():
            raise RunError(f"{path}: is not there yet; run `doremi proxy` first")
        mixture = read_mixture(path)
    elif name in PLAIN_MIXTURES:
        mixture = _plain(config, corpus, name)
    elif name.endswith(".json"):
        mixture = read_mixture(Path(name))
    else:
        mixture = published_mixture(name)
    mixture.aligned(corpus.domains)
    return mixture


def _plain(config: RunConfig, corpus: Corpus, name: str) -> Mixture:
    """A mixture that follows from token counts alone: sizes for weights, training tokens for what may be repeated."""
    tokens = dict(zip(corpus.domains, map(float, corpus.count("train", "tokens")), strict=True))
    sizes = corpus.natural_sizes({name: domain.epochs for name, domain in config.data.domains.items()})
    make: dict[str, Callable[[], Mixture]] = {
        "natural": lambda: natural(sizes),
        "uniform": lambda: uniform(list(tokens)),
        "temperature": lambda: temperature(sizes, config.candidates.temperature),
        "unimax": lambda: unimax(tokens, config.budget, config.candidates.max_epochs),
    }
    return make[name]()


def found_weights(record: Mapping[str, Any]) -> Mixture:
    """What a mixture.json's weights were before limits."""
    return Mixture(record.get("before_limits", record["weights"]))


def limited(config: RunConfig, corpus: Corpus, mixture: Mixture) -> Mixture:
    """The nearest mixture that `limits` allows; `MixtureError` if there is none, with the largest budget that has."""
    limits, names = config.limits, list(corpus.domains)
    own = {name: limits.domains.get(name, DomainLimits()) for name in names}
    low = {name: _first(own[name].weight, own[name].min_weight, limits.min_weight) for name in names}
    high = {name: _first(own[name].weight, own[name].max_weight, limits.max_weight) for name in names}
    caps = {name: _first(own[name].max_epochs, limits.max_epochs) for name in names}
    constraints = Constraints(
        min_weight=low,
        max_weight=high,
        groups={
            name: Group(group.domains, group.min_weight, group.max_weight) for name, group in limits.groups.items()
        },
        max_epochs={name: cap for name, cap in caps.items() if cap is not None},
        tokens=dict(zip(names, corpus.count("train", "tokens"), strict=True)),
        budget_tokens=config.budget,
    )
    return project(mixture, corpus.domains, constraints)


def check_limits(config: RunConfig, corpus: Corpus) -> None:
    """`MixtureError` for limits that no mixture keeps: they are said before any work."""
    limited(config, corpus, uniform(list(corpus.domains)))


def _first(*values: float | None) -> Any:
    """The first that is given; None if none is."""
    return next((value for value in values if value is not None), None)


def plain_record(config: RunConfig, directory: RunDirectory, corpus: Corpus, name: str) -> dict[str, Any]:
    """mixtures/<name>.json of a candidate."""
    mixture = mixture_named(config, directory, corpus, name)
    source = published_source(name) if name in published_names() else "token counts"
    origin = {"method": candidate_name(name), "source": source if not name.endswith(".json") else "a given file"}
    return record(config, corpus, mixture, **origin)


def record(config: RunConfig, corpus: Corpus, found: Mixture, **origin: Any) -> dict[str, Any]:
    """mixture.json (docs/formats.md) of the nearest allowed mixture; `origin` says where the weights are from."""
    mixture = limited(config, corpus, found)
    if mixture != found:
        origin["before_limits"] = {name: found[name] for name in corpus.domains}
    counts = {what: corpus.count("train", what) for what in ("tokens", "documents", "bytes")}
    tokens = dict(zip(corpus.domains, counts["tokens"], strict=True))
    passes = epochs(mixture, tokens, config.budget)
    domains = {
        name: {
            **{what: counts[what][i] for what in counts},
            "tokens_per_document": counts["tokens"][i] / counts["documents"][i],
            "epochs": passes[name],
        }
        for i, name in enumerate(corpus.domains)
    }
    return {
        "format": FORMAT,
        "unit": "tokens",
        "weights": {name: mixture[name] for name in corpus.domains},
        **origin,
        "tokenizer": {"sha256": corpus.tokenizer.sha256, "vocab_size": corpus.tokenizer.vocab_size},
        "budget_tokens": config.budget,
        "domains": domains,
    }
