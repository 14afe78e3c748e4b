"""Trainings as things that are done once: a key that says what a result depends on, and what is built from it.

Which seed feeds what, for seed s: the initialisation of every model `init/s`; the order of the data of reference and
main models `main/s`, that of the proxy `proxy/s`. So candidates are paired, a candidate that is trained like the
reference *is* the reference, and the proxy meets sequences in another order than the reference did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from doremi.corpus import store
from doremi.corpus.loader import BatchStream, windows
from doremi.corpus.sampler import Sampler
from doremi.corpus.value import Corpus
from doremi.diagnostics.health import FOR_MAIN, FOR_REFERENCE
from doremi.distributed import is_sharded
from doremi.errors import ConfigError, RunError
from doremi.evaluation.perplexity import ValidationSet
from doremi.files import FORMAT, key_of, write_json
from doremi.mixture.domains import Mixture
from doremi.model.build import TokenLosses, build, count_parameters, save
from doremi.objectives.plain import Objective, PlainObjective
from doremi.pipeline.workspace import Workspace, shape_of
from doremi.rundir.layout import TrainingFolder
from doremi.training import loop as training
from doremi.training.reference_losses import ReferenceLosses

EXACT_SHARE_SEQUENCES = 2**22  # up to here the share that the reference has seen is counted, above it is expected


DOES_NOT_MATTER = (
    "accumulation",
    "checkpoint_every",
    "log_every",
    "parallel",
    "threads",
    "timeout",
)  # to a training's result


def order_of(stage: str, seed: int) -> str:
    """The key of a stream of batches: `main` for reference and main models, `proxy` for the proxy."""
    return f"{stage}/{seed}"


def job_key(
    space: Workspace, corpus: Corpus, mixture: Mixture, order: str, *, seed: int, size: str | None, objective: Any
) -> str:
    """Hash of everything that the result of a training depends on."""
    settings = space.settings.model_dump(mode="json", exclude=set(DOES_NOT_MATTER))
    return key_of(
        {
            "format": FORMAT,
            "corpus": corpus.training.fingerprint,
            "sequence_length": space.config.data.sequence_length,
            "model": shape_of(space.config, size),
            "training": settings,
            "mixture": mixture.aligned(corpus.domains),
            "seed": seed,
            "order": order,
            "objective": objective,
        }
    )


def is_finished(folder: TrainingFolder, key: str) -> bool:
    """Whether this very training is done; `RunError` if the folder holds another one."""
    if not folder.finished:
        return False
    if folder.stage()["key"] != key:
        raise RunError(
            f"{folder.folder}: holds a training with other settings, data or mixture; "
            "remove the folder to train it again, or give this run another name"
        )
    return True


def fresh_model(space: Workspace, corpus: Corpus, size: str | None, seed: int) -> TokenLosses:
    """A model initialised from `init/<seed>`."""
    tokenizer = corpus.tokenizer
    digest = hashlib.sha256(f"init/{seed}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    length = space.config.data.sequence_length
    pad_id = padding_id(corpus.folder / "tokenizer")
    lm = build(shape_of(space.config, size), tokenizer.vocab_size, length, tokenizer.end_of_text_id, pad_id)
    return TokenLosses(lm, length)


def padding_id(tokenizer: Path) -> int | None:
    """The tokenizer's padding token if it serves for nothing else: the model never learns its embedding."""
    path = tokenizer / "tokenizer_config.json"
    if not path.exists():  # a plan's trial has random tokens and no tokenizer
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    padding = config.pop("pad_token", None)
    if padding is None or padding in config.values():
        return None
    return Tokenizer.from_file(str(tokenizer / "tokenizer.json")).token_to_id(padding)


def tokens_per_micro_batch(space: Workspace) -> int:
    """Tokens that one forward pass of this process sees."""
    settings = space.settings
    return settings.batch_size * space.config.data.sequence_length // (settings.accumulation * space.world.size)


def sampler_for(space: Workspace, corpus: Corpus, mixture: Mixture, order: str) -> Sampler:
    counts = [windows(n, space.config.data.sequence_length) for n in corpus.training.count("train", "tokens")]
    return Sampler(mixture.aligned(corpus.domains), counts, space.settings.batch_size, order)


def stream_for(space: Workspace, corpus: Corpus, mixture: Mixture, order: str) -> BatchStream:
    """The batches of this rank for a mixture and an order."""
    settings, world = space.settings, space.world
    if settings.batch_size % (world.size * settings.accumulation):
        raise ConfigError(
            f"training.batch_size {settings.batch_size} is not a multiple of processes x accumulation "
            f"({world.size} x {settings.accumulation})"
        )
    sampler = sampler_for(space, corpus, mixture, order)
    files = [store.token_file(corpus.training, name, "train") for name in corpus.domains]
    length = space.config.data.sequence_length
    return BatchStream(sampler, files, length, world.rank, world.size, settings.accumulation)


def make_job(
    space: Workspace, corpus: Corpus, folder: Path, key: str, *, model: TokenLosses, stream: BatchStream,
    objective: tuple[str, Objective], reference: ReferenceLosses | None = None,
) -> training.Job:  # fmt: skip
    """A job of this run: its settings, validation set and domains filled in."""
    tokens = [store.tokens(corpus, name, "validation") for name in corpus.domains]
    return training.Job(
        folder=folder,
        key=key,
        settings=space.settings,
        model=model,
        objective=objective[1],
        objective_name=objective[0],
        stream=stream,
        reference=reference,
        lagged=reference is not None and space.config.proxy.update == "lagged",
        until_settled=reference is not None and space.config.proxy.stop == "auto",
        validation=ValidationSet(corpus, tokens, space.config.data.sequence_length),
        domains=corpus.domains,
        epoch_tokens=corpus.training.count("train", "tokens"),
    )


def run_job(space: Workspace, job: training.Job, mixture: Mixture, outputs: Callable[[int], dict[str, Any]]) -> None:
    """Train, write the stage's own `outputs` (which returns more fields for stage.json), mark the folder finished.

    All processes call `outputs` with the last step; it writes on the main one only.
    """
    stage = str(job.folder.relative_to(space.root))
    if space.world.is_main:
        job.folder.mkdir(parents=True, exist_ok=True)
    space.world.barrier()
    with space.timed(stage, tokens=space.config.run_tokens):
        step = training.train(job, space.world, space.watch)
        fields = outputs(step)
        if space.world.is_main:
            write_json(job.folder / "stage.json", {**_summary(job, mixture, step), **fields})
    space.world.barrier()


def _summary(job: training.Job, mixture: Mixture, steps: int) -> dict[str, Any]:
    settings, length = job.settings, job.stream.sequence_length
    return {
        "format": FORMAT,
        "key": job.key,
        "steps": steps,
        "tokens": steps * settings.batch_size * length,
        "batch_size": settings.batch_size,
        "sequence_length": length,
        "parameters": count_parameters(job.model)[1],
        "mixture": {name: mixture[name] for name in job.domains},
        "consumed_tokens": [int(n) * length for n in job.stream.sampler.drawn(steps)],
        "epoch_tokens": job.epoch_tokens,
    }


def train_plain(
    space: Workspace, corpus: Corpus, folder: TrainingFolder, mixture: Mixture, *, seed: int, size: str | None
) -> None:
    """Ordinary training on a mixture, saved as a Hugging Face model: a reference or a main model."""
    key = plain_key(space, corpus, mixture, seed=seed, size=size)
    if is_finished(folder, key):
        return
    stream = stream_for(space, corpus, mixture, order_of("main", seed))
    model = fresh_model(space, corpus, size, seed)
    objective = ("plain", PlainObjective())
    job = make_job(space, corpus, folder.folder, key, model=model, stream=stream, objective=objective)
    job = replace(job, advice=FOR_REFERENCE if size is None else FOR_MAIN)

    def outputs(step: int) -> dict[str, Any]:
        tensors = space.world.whole(model.lm.state_dict()) if is_sharded(model) else None
        if space.world.is_main:
            save(model.lm, corpus.folder / "tokenizer", folder.folder / "model", tensors)
        return {}

    run_job(space, job, mixture, outputs)


def plain_key(space: Workspace, corpus: Corpus, mixture: Mixture, *, seed: int, size: str | None) -> str:
    """Key of an ordinary training; equal for a reference and for a candidate that is trained like it."""
    return job_key(space, corpus, mixture, order_of("main", seed), seed=seed, size=size, objective="plain")


def seen_share(proxy: Sampler, reference: Sampler, sequences: list[int], steps: int) -> list[float]:
    """Per domain, the share of the proxy's sequences that the reference was trained on, `[K]`."""
    drawn = np.stack([proxy.drawn(steps), reference.drawn(steps)])
    return [
        _seen(proxy, reference, domain, count, *drawn[:, domain].tolist()) for domain, count in enumerate(sequences)
    ]


def _seen(proxy: Sampler, reference: Sampler, domain: int, count: int, proxy_drawn: int, seen: int) -> float:
    if seen >= count or not proxy_drawn:
        return float(seen >= count)
    if count > EXACT_SHARE_SEQUENCES:
        return seen / count
    known = np.zeros(count, dtype=bool)
    known[_sequences(reference, domain, seen)] = True
    return float(known[_sequences(proxy, domain, min(proxy_drawn, count))].mean())


def _sequences(sampler: Sampler, domain: int, draws: int) -> np.ndarray:
    return sampler.sequence(np.full(draws, domain), np.arange(draws))
