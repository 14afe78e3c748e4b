"""A training from its spec: done once, resumed where it stopped, its folder holding nothing of a name or a role.

Which seed feeds what, for seed s: the initialisation of every model `init/s`; the order of the data of reference and
main models `main/s`, that of the proxy `proxy/s`. So candidates are paired, a candidate that is trained like the
reference *is* the reference, and the proxy meets sequences in another order than the reference did.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from doremi.config import TrainingConfig
from doremi.corpus import store
from doremi.corpus.loader import BatchStream, windows
from doremi.corpus.pool import first
from doremi.corpus.sampler import Sampler
from doremi.corpus.value import Corpus
from doremi.distributed import World, is_sharded
from doremi.errors import ConfigError, RunError, TrainingError
from doremi.evaluation.perplexity import ValidationSet
from doremi.files import FORMAT, ten_digits, write_json
from doremi.mixture.domains import Mixture
from doremi.mixture.record import MixtureRecord, write_record
from doremi.model.build import TokenLosses, build, count_parameters, load, save
from doremi.model.recompute import recompute
from doremi.model.room import logits_room, scoring_room
from doremi.objectives.choose import make_objective
from doremi.objectives.objective import Objective
from doremi.objectives.plain import PlainObjective
from doremi.pipeline.look import machine as recorded_machine
from doremi.pipeline.sharded import build_sharded, load_sharded, save_sharded, shards_of, splits
from doremi.pipeline.workspace import Workspace, versions
from doremi.rundir import costs
from doremi.rundir.known import counts, counts_key
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.memory import more_micro_batches, split_over
from doremi.rundir.node import training_place
from doremi.rundir.specs import DIGITS, LossesSpec, Scoring, TrainingSpec
from doremi.trackers import Tracked
from doremi.training import loop
from doremi.training.determinism import deterministic_or_said, set_deterministic
from doremi.training.memory import forget_peak, free_memory, peak_memory
from doremi.training.out_of_memory import memory_or_said
from doremi.training.peak import utilisation
from doremi.training.profile import profiled
from doremi.training.reference_losses import Forward, LiveReference, ReferenceLosses, StoredReference, write_store

EXACT_SHARE_SEQUENCES = 2**22  # up to here the share that the reference has seen is counted, above it is expected

Outputs = Callable[[int], Mapping[str, Any]]
"""What a stage writes beside its log, at its last step; the main process writes, all are called. Returns more fields
for stage.json."""


# -- parts of a training -----------------------------------------------------------------------------------------------


def fresh_model(corpus: Corpus, spec: TrainingSpec, seed: int, world: World) -> TokenLosses:
    """A model initialised from `init/<seed>`, split over the processes where the settings say so.

    Its matrices are `training.initial_spread` times what its architecture says.
    """
    tokenizer, length, spread = corpus.tokenizer, spec.sequence_length, spec.settings.initial_spread
    digest = hashlib.sha256(f"init/{seed}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    pad_id = padding_id(corpus.folder / "tokenizer")

    def make() -> Any:
        return build(spec.description, tokenizer.vocab_size, length, tokenizer.end_of_text_id, pad_id)

    if splits(spec.settings, world):
        return build_sharded(make, length, spread, shards_of(spec.settings, world), world)
    lm = make()
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(spread)
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


def sampler_for(corpus: Corpus, spec: TrainingSpec) -> Sampler:
    """Where the batches of a training come from."""
    counts = [windows(n, spec.sequence_length) for n in corpus.training.count("train", "tokens")]
    return Sampler(spec.weights, counts, spec.settings.batch_size, spec.order)


def stream_for(corpus: Corpus, spec: TrainingSpec, world: World) -> BatchStream:
    """The batches of this rank."""
    settings = spec.settings
    if settings.batch_size % (world.size * int(settings.accumulation)):
        raise ConfigError(
            f"training.batch_size {settings.batch_size} is not a multiple of processes x accumulation "
            f"({world.size} x {settings.accumulation})"
        )
    files = [store.token_file(corpus.training, name, "train") for name in corpus.domains]
    length = spec.sequence_length
    return BatchStream(sampler_for(corpus, spec), files, length, world.rank, world.size, int(settings.accumulation))


def make_job(
    corpus: Corpus, folder: Path, spec: TrainingSpec, world: World, *, name: str, objective: tuple[str, Objective],
    reference: ReferenceLosses | None = None,
) -> loop.Job:  # fmt: skip
    """A job of the loop from a spec."""
    tokens = [store.tokens(corpus, name, "validation") for name in corpus.domains]
    scoring = spec.scoring
    model = fresh_model(corpus, spec, spec.seed, world)
    if spec.settings.recompute != "auto":
        recompute(model.lm, spec.settings.recompute)
    give_room(model, spec, world)
    return loop.Job(
        folder=folder,
        name=name,
        key=spec.key,
        settings=spec.settings,
        model=model,
        objective=objective[1],
        objective_name=objective[0],
        stream=stream_for(corpus, spec, world),
        reference=reference,
        until_settled=scoring is not None and scoring.proxy.stop == "auto",
        validation=ValidationSet(corpus, tokens, spec.sequence_length, first(corpus), spec.device_memory),
        domains=corpus.domains,
        epoch_tokens=corpus.training.count("train", "tokens"),
    )


def give_room(model: TokenLosses, spec: TrainingSpec, world: World) -> None:
    """Let a model have as many logits at once as the card's recorded memory leaves; on a CPU it has its own limit."""
    if spec.device_memory is not None:
        settings = spec.settings
        here = count_parameters(model)[1] // split_over(settings, world.size)
        model.logits_bytes = logits_room(
            spec.device_memory, spec.description, here, model.vocab_size, spec.sequence_length,
            rows=max(1, costs.micro_batch_rows(settings) // world.size),
            halved=settings.precision == "bfloat16" and settings.compile is True, recomputed=settings.recompute,
        )  # fmt: skip


# -- doing one ---------------------------------------------------------------------------------------------------------


def is_finished(folder: TrainingFolder, key: str) -> bool:
    """Whether this very training is done; `RunError` where the first digits of two keys are the same."""
    if not folder.finished:
        return False
    if folder.stage()["key"] != key:
        raise RunError(f"{folder.folder}: holds another training; remove the folder to train this one")
    return True


def train(space: Workspace, corpus: Corpus, spec: TrainingSpec, name: str) -> None:
    """Do a training if it is not finished; `name` is what it is called in messages and timings."""
    folder = TrainingFolder(space.root / training_place(spec.key))
    if space.world.from_main(int(is_finished(folder, spec.key))):  # another machine may see it later
        return
    _prepare_torch(spec.settings, space.world)
    with deterministic_or_said(), memory_or_said(name):
        while (smaller := _tried(space, corpus, spec, folder.folder, name)) is not None:
            spec = smaller


def _tried(space: Workspace, corpus: Corpus, spec: TrainingSpec, folder: Path, name: str) -> TrainingSpec | None:
    """Do a training; the same with smaller micro-batches where these are ours to choose and the GPU has too little
    memory. It is recorded, so that other trainings of this model begin so. None when it is done.

    Of several processes one may run out alone, and the others then wait for its gradients. So all end, with an error,
    and begin with smaller micro-batches when they are started again.
    """
    try:
        (_plain if spec.scoring is None else _scored)(space, corpus, spec, folder, name)
    except torch.OutOfMemoryError:
        number = more_micro_batches(spec.settings, space.world.size)
        if space.config.training.accumulation != "auto" or spec.device_memory is None or number is None:
            raise
    else:
        return None
    free_memory()  # no longer held by the error
    space.record_micro_batches(counts_key(spec.model, corpus.tokenizer.vocab_size, spec.sequence_length), number)
    if space.world.size > 1:
        raise TrainingError(
            f"{name}: the GPU of rank {space.world.rank} has too little memory. Give the same command again: it goes "
            f"on in {number} micro-batches a step"
        )
    space.watch.say(f"remark: {name}: the GPU has too little memory. It goes on in {number} micro-batches a step.")
    return replace(spec, settings=spec.settings.model_copy(update={"accumulation": number}))


def _prepare_torch(settings: TrainingConfig, world: World) -> None:
    """What is set for a whole process, before a training."""
    torch.set_num_threads(int(settings.threads))
    set_deterministic(settings.deterministic is True, world.device)


def _plain(space: Workspace, corpus: Corpus, spec: TrainingSpec, folder: Path, name: str) -> None:
    """Ordinary training, saved as a Hugging Face model."""
    job = make_job(corpus, folder, spec, space.world, name=name, objective=("plain", PlainObjective()))

    def outputs(step: int) -> Mapping[str, Any]:
        if is_sharded(job.model):
            save_sharded(job.model.lm, corpus.folder / "tokenizer", folder / "model", space.world)
        elif space.world.is_main:
            save(job.model.lm, corpus.folder / "tokenizer", folder / "model")
        return {}

    _run(space, job, spec, name, outputs)


def _scored(space: Workspace, corpus: Corpus, spec: TrainingSpec, folder: Path, name: str) -> None:
    """A proxy, trained with Group DRO; its averaged weights are its mixture.json."""
    scoring = spec.scoring
    assert scoring is not None
    trained = TrainingFolder(space.root / training_place(scoring.reference))
    if not trained.finished:
        raise RunError(f"{trained.folder}: the reference is not trained yet; run `doremi reference` first")
    vocab_size, sampling = corpus.tokenizer.vocab_size, _named(corpus, spec.weights)
    objective = make_objective(scoring.proxy, corpus.domains, vocab_size, sampling)
    job = make_job(
        corpus, folder, spec, space.world, name=name, objective=(scoring.proxy.variant, objective),
        reference=reference_losses(space, corpus, spec, scoring),
    )  # fmt: skip

    def outputs(step: int) -> Mapping[str, Any]:
        weights = dict(zip(corpus.domains, objective.average_weights.tolist(), strict=True))
        if space.world.is_main:
            write_record(folder / "mixture.json", MixtureRecord(weights=weights, source="one proxy"))
        return {"seen_by_reference": _seen_by_reference(corpus, job.stream.sampler, spec, trained, step)}

    _run(space, job, spec, name, outputs)


def _named(corpus: Corpus, weights: tuple[float, ...]) -> Mixture:
    return Mixture(dict(zip(corpus.domains, weights, strict=True)))


def _run(space: Workspace, job: loop.Job, spec: TrainingSpec, name: str, outputs: Outputs) -> None:
    """Train, write what the training leaves, mark the folder finished."""
    if space.world.is_main:
        job.folder.mkdir(parents=True, exist_ok=True)
    space.world.barrier()
    main = space.world.is_main
    job = replace(job, operations=_operations(space.root, job, spec))
    space = replace(space, watch=Tracked(space.watch, space.config.trackers if main else [], space.root))
    saved = TrainingFolder(job.folder).saved_step()
    resumed = {"from_step": saved} if saved else {}  # its time is only that of the rest
    with (
        space.timed(name, tokens=spec.tokens, **resumed) as figures,
        profiled(space.watch, space.config.profile if main else None, space.root, name) as watch,
    ):
        device, start = space.world.device, time.monotonic()
        forget_peak(device)
        step = loop.train(job, space.world, watch)
        made, seconds = (job.operations or 0) * (step - saved), time.monotonic() - start
        figures |= {"peak_memory": peak_memory(device), "devices": space.world.size}
        figures |= utilisation(made, seconds, device, spec.settings.precision, space.world.size)
        fields = outputs(step)
        if space.world.is_main:
            write_json(job.folder / "stage.json", {**_summary(job, spec, step), **fields})
    space.world.barrier()


def _operations(root: Path, job: loop.Job, spec: TrainingSpec) -> int | None:
    """Matrix operations of a step, as they were counted before the run's first training."""
    found = counts(root).get(counts_key(spec.model, job.model.vocab_size, spec.sequence_length))
    each = None if found is None else found.training
    return None if each is None else each * spec.settings.batch_size


def _summary(job: loop.Job, spec: TrainingSpec, steps: int) -> dict[str, Any]:
    settings, length = spec.settings, spec.sequence_length
    return {
        "format": FORMAT,
        "key": spec.key,
        "steps": steps,
        "tokens": steps * settings.batch_size * length,
        "batch_size": settings.batch_size,
        "sequence_length": length,
        "seed": spec.seed,
        "learning_rate": ten_digits(loop.learning_rate(steps, settings) / float(settings.learning_rate)),
        "parameters": count_parameters(job.model)[1],
        "mixture": dict(zip(job.domains, spec.weights, strict=True)),
        "consumed_tokens": [int(n) * length for n in job.stream.sampler.drawn(steps)],
        "epoch_tokens": job.epoch_tokens,
        "evaluated_documents": list(job.validation.part),
        "versions": versions(),
    }


# -- losses of the reference -------------------------------------------------------------------------------------------


def losses_folder(root: Path, key: str) -> Path:
    """Where kept losses lie."""
    return root / "losses" / key[:DIGITS]


def reference_losses(space: Workspace, corpus: Corpus, spec: TrainingSpec, scoring: Scoring) -> ReferenceLosses:
    """Losses of a finished reference: from their store, or live."""
    if scoring.losses == "live":
        module, forward = _frozen(space, spec.settings, spec.sequence_length, scoring.reference)
        give_room(module, spec, space.world)
        return LiveReference(module, forward)
    kept = LossesSpec(corpus.training.fingerprint, spec.sequence_length, scoring.reference)
    return StoredReference(
        losses_folder(space.root, kept.key), corpus.training, spec.sequence_length, scoring.reference
    )


def keep_losses(space: Workspace, corpus: Corpus, spec: LossesSpec, settings: TrainingConfig, name: str) -> None:
    """Compute the losses of a reference on all training sequences, and keep them."""
    folder = losses_folder(space.root, spec.key)
    if space.world.from_main(int((folder / "manifest.json").exists())):
        return
    length = spec.sequence_length
    forward, memory = scorer(space, settings, length, spec.reference)
    rows = max(1, costs.losses_rows(settings, length, memory) // space.world.size)
    with space.timed(name, tokens=sum(corpus.training.count("train", "tokens"))):
        write_store(folder, corpus.training, length, spec.reference, forward, space.world, rows)


def scorer(
    space: Workspace, settings: TrainingConfig, sequence_length: int, training: str
) -> tuple[Forward, int | None]:
    """A finished model, only asked for losses, as a forward pass; and the recorded memory of the card, if any."""
    _prepare_torch(settings, space.world)
    module, forward = _frozen(space, settings, sequence_length, training)
    machine = recorded_machine(space.root)
    memory = None if machine is None else machine.device_memory
    if memory is not None:
        module.logits_bytes = scoring_room(memory, count_parameters(module)[1])
    return forward, memory


def _frozen(
    space: Workspace, settings: TrainingConfig, sequence_length: int, training: str
) -> tuple[TokenLosses, Forward]:
    """The model of a finished training, by its key, and its forward pass."""
    folder = space.root / training_place(training) / "model"
    if splits(settings, space.world):
        module = load_sharded(folder, sequence_length, shards_of(settings, space.world), space.world).eval()
    else:
        module = TokenLosses(load(folder), sequence_length).eval().to(space.world.device)
    return module, loop.forward_pass(module, settings, space.world.device)


# -- what the reference has seen ---------------------------------------------------------------------------------------


def _seen_by_reference(
    corpus: Corpus, proxy: Sampler, spec: TrainingSpec, trained: TrainingFolder, steps: int
) -> list[float]:
    stage = trained.stage()
    counts = [windows(n, spec.sequence_length) for n in corpus.training.count("train", "tokens")]
    weights = Mixture(stage["mixture"]).aligned(corpus.domains)
    other = Sampler(weights, counts, stage["batch_size"], f"main/{stage['seed']}")
    return seen_share(proxy, other, counts, steps)


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
