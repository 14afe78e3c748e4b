"""What would only be looked up hours later: told before any work."""

from __future__ import annotations

from pathlib import Path

import torch

from doremi.config import RunConfig
from doremi.errors import ConfigError
from doremi.methods import by_mixture
from doremi.mixture.plain import uniform
from doremi.model.build import build, remarks, try_out
from doremi.model.presets import shape
from doremi.model.recompute import recompute
from doremi.objectives.choose import make_objective
from doremi.pipeline import fewshot
from doremi.pipeline.look import copied
from doremi.rundir.peak_rate import peak_rate
from doremi.rundir.weights import check_limits_of_weights, check_names, shape_of
from doremi.trackers import check as check_trackers


def check(config: RunConfig, *, search: bool) -> None:
    """Sizes, mixtures, trackers, the proxy's choices and, for a `search`, domains and what methods ask for."""
    if search and len(config.domains) == 1:
        raise ConfigError(
            "data.domains: there is one domain, so there is nothing to weigh; name at least two "
            "(`doremi prepare` and `doremi train --mixture natural` work with one)"
        )
    check_trackers(config.trackers)
    description = shape_of(config)
    if config.model.architecture is not None or config.model.options:
        try_out(description, config.data.vocab_size, config.data.sequence_length)
    if config.training.recompute in ("attention", "block"):
        with torch.device("meta"):
            lm = build(description, config.data.vocab_size, config.data.sequence_length, 0)
        recompute(lm, config.training.recompute)
    for size in config.candidates.sizes:
        if size != config.size_name:
            shape(size, None, {}, key="candidates.sizes")
    peak_rate(config)
    for size in config.training.learning_rates:
        if size not in (config.size_name, *config.candidates.sizes):
            shape(size, None, {}, key="training.learning_rates")
    check_mixtures(config)
    if search:
        check_limits_of_weights(config)
    make_objective(config.proxy, config.domains, 2, uniform(list(config.domains)))
    if config.downstream.tasks is not None:
        fewshot.check(config.downstream)


def check_mixtures(config: RunConfig, *more: str) -> None:
    """Names of mixtures, and what the methods ask of the configuration."""
    methods = by_mixture()
    asked = [methods[name] for name in dict.fromkeys(config.candidate_mixtures()) if name in methods]
    for method in dict.fromkeys(methods.values()):
        if method in asked:
            method.check(config)
    for key, name in (("reference.mixture", config.reference.mixture), ("proxy.sampling", config.proxy.sampling)):
        if name in methods or name == "reference":
            raise ConfigError(f"{key} cannot be {name}: it is needed before a search has found that mixture")
    if config.candidates.equal_compute and not asked:
        raise ConfigError(
            "candidates.equal_compute compares a found mixture with the others: add one to candidates.mixtures, "
            f"such as {next(iter(methods))}"
        )
    check_names([*config.candidate_mixtures(), config.reference.mixture, config.proxy.sampling, *more], list(methods))


def check_given(config: RunConfig) -> None:
    """`ConfigError` where a mixture file, or a run to reuse, is not there: no part of the run will make it.

    A run that has begun has copies of the files, and has taken what it reuses.
    """
    names = [("reference.mixture", config.reference.mixture), ("proxy.sampling", config.proxy.sampling)]
    names += [("candidates.mixtures", name) for name in config.candidate_mixtures()]
    for key, name in names:
        if name.endswith(".json") and not Path(name).is_file() and not copied(config.root, name).is_file():
            raise ConfigError(f"{key}: {name}: there is no such file; check the path")
    reuse = config.reference.reuse
    begun = (config.root / "trainings").exists()
    if reuse is not None and not begun and not (Path(reuse) / "config.yaml").is_file():
        raise ConfigError(f"reference.reuse: {reuse}: is not a run directory; check the path, or leave it out")


def model_remarks(config: RunConfig) -> list[str]:
    """What a user should know about the configured model before it is trained."""
    with torch.device("meta"):
        return remarks(build(shape_of(config), config.data.vocab_size, config.data.sequence_length, 0))
