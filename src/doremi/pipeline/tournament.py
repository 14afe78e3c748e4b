"""Many trainings: the search, then candidates x sizes x seeds, then verdict and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.errors import ConfigError
from doremi.mixture.plain import uniform
from doremi.model.build import build, remarks, try_out
from doremi.model.presets import shape
from doremi.pipeline import stages
from doremi.pipeline.downstream import evaluate_candidates
from doremi.pipeline.equal_compute import train_longer
from doremi.pipeline.judging import judge
from doremi.pipeline.preparing import prepare
from doremi.pipeline.rounds import search, step
from doremi.pipeline.workspace import Workspace, shape_of
from doremi.report import write_report
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.mixtures import candidate_name, check_names


def check(config: RunConfig, *, search: bool) -> None:
    """What would only be looked up hours later: sizes, mixtures, the proxy's choices and, for a `search`, domains."""
    if search and len(config.domains) == 1:
        raise ConfigError(
            "data.domains: there is one domain, so there is nothing to weigh; name at least two "
            "(`doremi prepare` and `doremi train --mixture natural` work with one)"
        )
    description = shape_of(config)
    if config.model.architecture is not None or config.model.options:
        try_out(description, config.data.vocab_size, config.data.sequence_length)
    for size in config.candidates.sizes:
        if size != config.size_name:
            shape(size, None, {}, key="candidates.sizes")
    check_names([*config.candidate_mixtures(), config.reference.mixture, config.proxy.sampling])
    stages.make_objective(config.proxy, config.domains, 2, uniform(list(config.domains)))


def model_remarks(config: RunConfig) -> list[str]:
    """What a user should know about the configured model before it is trained."""
    with torch.device("meta"):
        return remarks(build(shape_of(config), config.data.vocab_size, config.data.sequence_length, 0))


def candidates(space: Workspace, corpus: Corpus) -> None:
    """Main models of every configured size, seed and mixture."""
    config = space.config
    for size in config.size_names():
        for seed in config.candidate_seeds():
            for name in config.candidate_mixtures():
                step(space, lambda s=size, n=name, i=seed: stages.main_model(space, corpus, s, n, i))
    if config.candidates.equal_compute:
        train_longer(space, corpus)


def one_candidate(space: Workspace, corpus: Corpus, mixture_file: Path) -> TrainingFolder:
    """The user's own main model: the configured model on a given mixture."""
    size, seed = space.config.size_name, space.config.seed
    check_names([*space.config.candidates.mixtures, space.config.reference.mixture, str(mixture_file)])
    step(space, lambda: stages.main_model(space, corpus, size, str(mixture_file), seed))
    return space.directory.main(size, candidate_name(str(mixture_file)), seed)


def everything(space: Workspace) -> dict[str, Any]:
    """The whole job; returns the verdict."""
    corpus = prepare(space)
    search(space, corpus)
    candidates(space, corpus)
    result: dict[str, Any] = {}
    if space.world.is_main:
        evaluate_candidates(space)
        result = judge(space.config)
        write_report(space.directory)
    return result
