"""One run, stage by stage: (prepare ->) reference -> proxy -> mixture -> main, short functions over a run directory.

A finished stage is left alone, an unfinished one goes on where its last checkpoint is.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from doremi.config import ProxyConfig, RunConfig
from doremi.corpus.loader import windows
from doremi.corpus.value import Corpus
from doremi.diagnostics.uncertainty import uncertainty, whether_settled
from doremi.errors import ConfigError, RunError
from doremi.files import FORMAT, write_json
from doremi.mixture.domains import DomainSet, Mixture
from doremi.mixture.files import read_mixture
from doremi.mixture.names import LEARNED, PER_SEED
from doremi.model.build import TokenLosses, load
from doremi.objectives.dro import GroupDRO
from doremi.objectives.variants import Choices, VariantDRO, official
from doremi.pipeline.jobs import (
    fresh_model,
    is_finished,
    job_key,
    make_job,
    order_of,
    plain_key,
    run_job,
    sampler_for,
    seen_share,
    stream_for,
    tokens_per_micro_batch,
    train_plain,
)
from doremi.pipeline.workspace import Workspace
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.mixtures import candidate_name, limited, mixture_named, plain_record, record
from doremi.training import loop as training
from doremi.training.reference_losses import Forward, LiveReference, ReferenceLosses, StoredReference, write_store

# -- step 1: reference ------------------------------------------------------------------------------------------------


def reference(space: Workspace, corpus: Corpus, search: RunDirectory, seed: int, mixture: Mixture) -> None:
    """A small model trained in the ordinary way on the reference mixture; `search` is where this round lies."""
    if space.config.reference.reuse is not None:
        key = plain_key(space, corpus, mixture, seed=seed, size=None)
        space.world.on_main(lambda: _reuse(space, search.reference(seed), key))
    train_plain(space, corpus, search.reference(seed), mixture, seed=seed, size=None)


def _reuse(space: Workspace, folder: TrainingFolder, key: str) -> None:
    """Take a finished reference with this key from another run directory, if it has one."""
    other = TrainingFolder(Path(str(space.config.reference.reuse)) / folder.folder.relative_to(space.root))
    if folder.finished or not other.finished or other.stage()["key"] != key:
        if not folder.finished:
            space.watch.say(f"{other.folder}: no reference that is trained alike; training it")
        return
    temporary = folder.folder.with_name(f".{folder.folder.name}.tmp")
    shutil.copytree(other.folder, temporary, copy_function=_link_or_copy)
    shutil.rmtree(folder.folder, ignore_errors=True)
    temporary.replace(folder.folder)


def _link_or_copy(source: str, target: str) -> None:
    """Finished files are never written to again, so one copy on a disk will do."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


# -- step 2: proxy ----------------------------------------------------------------------------------------------------


def proxy(space: Workspace, corpus: Corpus, search: RunDirectory, seed: int) -> None:
    """A model of the reference's size, trained with Group DRO; its averaged weights are its mixture.json."""
    folder, trained = search.proxy(seed), search.reference(seed)
    if not trained.finished:
        raise RunError(f"{trained.folder}: the reference is not trained yet; run `doremi reference` first")
    sampling = mixture_named(space.config, space.directory, corpus, space.config.proxy.sampling)
    key = _proxy_key(space, corpus, sampling, seed, trained)
    if is_finished(folder, key):
        return
    stream = stream_for(space, corpus, sampling, order_of("proxy", seed))
    vocab_size = corpus.tokenizer.vocab_size
    objective = make_objective(space.config.proxy, corpus.domains, vocab_size, sampling)
    job = make_job(
        space, corpus, folder.folder, key,
        model=fresh_model(space, corpus, None, seed),
        stream=stream,
        objective=(space.config.proxy.variant, objective),
        reference=_reference_losses(space, corpus, trained),
    )  # fmt: skip

    def outputs(step: int) -> dict[str, Any]:
        weights = dict(zip(corpus.domains, objective.average_weights.tolist(), strict=True))
        origin = {
            "method": "doremi",
            "source": f"the proxy of seed {seed}",
            "options": _options(space),
            "seeds": [seed],
        }
        if space.world.is_main:
            value = record(space.config, corpus, Mixture(weights), **origin)
            value["weights"] = value.pop("before_limits", value["weights"])  # what this proxy found
            write_json(folder.folder / "mixture.json", value)
        mixture = Mixture(trained.stage()["mixture"])
        other = sampler_for(space, corpus, mixture, order_of("main", seed))
        counts = [windows(n, space.config.data.sequence_length) for n in corpus.training.count("train", "tokens")]
        return {"seen_by_reference": seen_share(stream.sampler, other, counts, step)}

    run_job(space, job, sampling, outputs)


def _proxy_key(space: Workspace, corpus: Corpus, sampling: Mixture, seed: int, trained: TrainingFolder) -> str:
    objective = space.config.proxy.model_dump(mode="json", exclude={"seeds"})
    if objective["stop"] == "never":  # the key of a proxy that was finished before there was a choice
        del objective["stop"]
    objective["reference"] = trained.stage()["key"]
    return job_key(space, corpus, sampling, order_of("proxy", seed), seed=seed, size=None, objective=objective)


def keeps_losses(config: RunConfig, corpus: Corpus) -> bool:
    """Whether a proxy's first training computes its reference's losses once for the whole corpus, and keeps them."""
    wanted = config.reference.losses
    return wanted == "stored" or (wanted == "auto" and config.run_tokens > sum(corpus.count("train", "tokens")))


def _reference_losses(space: Workspace, corpus: Corpus, trained: TrainingFolder) -> ReferenceLosses:
    """Losses of a finished reference: from its store, which is made here if need be, or live."""
    config, length, key = space.config, space.config.data.sequence_length, trained.stage()["key"]
    folder, corpus = trained.folder / "losses", corpus.training
    stored = keeps_losses(config, corpus) or (folder / "manifest.json").exists()
    if config.reference.losses == "live" or (config.reference.losses == "auto" and not stored):
        return LiveReference(*_frozen(space, trained))
    if not (folder / "manifest.json").exists():
        _, forward = _frozen(space, trained)
        rows = max(1, tokens_per_micro_batch(space) // length)
        with space.timed(f"{folder.relative_to(space.root)}", tokens=sum(corpus.count("train", "tokens"))):
            write_store(folder, corpus, length, key, forward, space.world, rows)
    return StoredReference(folder, corpus, length, key)


def _frozen(space: Workspace, trained: TrainingFolder) -> tuple[TokenLosses, Forward]:
    """The reference as it was trained, and its forward pass."""
    module = TokenLosses(load(trained.folder / "model"), space.config.data.sequence_length).eval()
    module.to(space.world.device)
    if space.settings.parallel == "fsdp":
        module = space.world.shard(module)
    return module, training.forward_pass(module, space.settings, space.world.device)


def _options(space: Workspace) -> dict[str, Any]:
    """What the weights were found with, beside the data."""
    config, settings = space.config, space.settings
    return {
        **config.proxy.model_dump(mode="json", exclude={"seeds"}),
        "reference_mixture": config.reference.mixture,
        "model": config.size_name,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "sequence_length": config.data.sequence_length,
        "learning_rate": settings.learning_rate,
    }


def make_objective(
    settings: ProxyConfig, domains: DomainSet, vocab_size: int, sampling: Mixture
) -> GroupDRO | VariantDRO:
    """Algorithm 1, or the variant that the configuration names; `ConfigError` for impossible choices."""
    if settings.variant == "paper" and not settings.choices:
        return GroupDRO(len(domains), eta=settings.eta, smoothing=settings.smoothing)
    try:
        choices = Choices(**{**_variant(settings.variant, domains, vocab_size, sampling), **settings.choices})
        return VariantDRO(len(domains), choices, eta=settings.eta, smoothing=settings.smoothing)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"proxy.choices: {error}; docs/algorithm.md lists the choices") from None


def _variant(name: str, domains: DomainSet, vocab_size: int, sampling: Mixture) -> dict[str, Any]:
    """Fields of `Choices` that a named variant sets."""
    weights = sampling.aligned(domains)
    return {
        "paper": {},
        "official": vars(official(len(domains), vocab_size=vocab_size, start=weights, sampling=weights).choices),
        "hardest": {"excess": "proxy"},
        "easiest": {"excess": "minus_reference", "clip": "none"},
    }[name]


def combine(space: Workspace, corpus: Corpus, search: RunDirectory, reference_mixture: str) -> None:
    """DoReMi's mixture: the mean of the averaged weights of the configured proxies, as `limits` allow it."""
    seeds = space.config.search_seeds()
    each = {seed: read_mixture(search.proxy(seed).folder / "mixture.json") for seed in seeds}
    mean = Mixture({name: sum(m[name] for m in each.values()) / len(each) for name in corpus.domains})
    origin = {
        "method": "doremi",
        "source": f"{len(seeds)} {'proxy' if len(seeds) == 1 else 'proxies'} of run {space.config.name}",
        "options": {**_options(space), "reference_mixture": reference_mixture},
        "seeds": seeds,
        "per_seed": {str(seed): {name: m[name] for name in corpus.domains} for seed, m in each.items()},
        "uncertainty": uncertainty(each, corpus.domains, space.config.verdict.confidence).model_dump(mode="json"),
        "settled": {str(seed): _settled(space, search.proxy(seed)) for seed in seeds},
    }
    if space.world.is_main:
        write_json(search.mixture_path("doremi"), record(space.config, corpus, mean, **origin))
    space.world.barrier()


def _settled(space: Workspace, proxy: TrainingFolder) -> dict[str, Any]:
    """Whether a proxy's weights have settled, and how much of its schedule it has seen."""
    steps, settings = proxy.stage()["steps"], space.settings
    share = training.learning_rate(steps, settings) / settings.learning_rate
    return whether_settled(proxy.trace()["weights"], steps=steps, learning_rate=share).model_dump(mode="json")


def plain_mixture(space: Workspace, corpus: Corpus, name: str) -> Mixture:
    """A candidate's mixture as `limits` allow it; left under mixtures/."""
    value = plain_record(space.config, space.directory, corpus, name)
    if space.world.is_main:
        write_json(space.directory.mixture_path(candidate_name(name)), value)
    return Mixture(value["weights"])


# -- step 3: main models ----------------------------------------------------------------------------------------------


def main_model(space: Workspace, corpus: Corpus, size: str, mixture_name: str, seed: int, suffix: str = "") -> None:
    """One candidate; where a reference or another candidate was trained exactly alike, a link to that one.

    `suffix` is added to the folder's name where one mixture is trained in several ways.
    """
    name = candidate_name(mixture_name) + suffix
    mixture = _candidate_mixture(space, corpus, mixture_name, seed)
    key = plain_key(space, corpus, mixture, seed=seed, size=size)
    folder = space.directory.main(size, name, seed)
    same = None if folder.finished else _trained_alike(space, size, seed, key)
    space.world.barrier()  # all processes have looked before one of them leaves a link
    if same is None:
        train_plain(space, corpus, folder, mixture, seed=seed, size=size)
        return
    value = {"format": FORMAT, "folder": str(same.folder.relative_to(space.root))}
    if space.world.is_main:
        write_json(space.root / "main" / size / name / f"seed-{seed}" / "same-as.json", value)
    space.world.barrier()


def _candidate_mixture(space: Workspace, corpus: Corpus, name: str, seed: int) -> Mixture:
    if name == LEARNED:
        return mixture_named(space.config, space.directory, corpus, name)
    if name == PER_SEED:
        found = read_mixture(space.directory.last_search().proxy(seed).folder / "mixture.json")
        return limited(space.config, corpus, found)
    return plain_mixture(space, corpus, name)


def _trained_alike(space: Workspace, size: str, seed: int, key: str) -> TrainingFolder | None:
    """A finished training of this run with the same key."""
    others = sorted(path.name for path in (space.root / "main" / size).glob("*"))
    found = [space.directory.searches(space.config.rounds.max)[0].reference(seed)]
    found += [space.directory.main(size, other, seed) for other in others]
    return next((folder for folder in found if folder.finished and folder.stage()["key"] == key), None)
