"""Seconds and memory of this device, measured on the real code: a few steps, evaluations and saves on random tokens.

Each measurement is a fresh process (`python -m doremi.plan.calibration`, a request on its standard input, an answer on
its standard output), so that its peak memory is its own. It works in a temporary folder, which it removes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from doremi import distributed
from doremi.config import RunConfig
from doremi.config.loading import validate
from doremi.corpus.manifest import DomainEntry, TokenizerEntry, split_counts
from doremi.corpus.store import DomainWriter
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.events.event import Event, Stepped
from doremi.events.stream import Watch
from doremi.mixture.domains import folder_name
from doremi.mixture.plain import uniform
from doremi.model.build import save
from doremi.objectives.choose import make_objective
from doremi.objectives.objective import Objective
from doremi.objectives.plain import PlainObjective
from doremi.pipeline import trainings
from doremi.pipeline.workspace import device_memory
from doremi.plan import kept
from doremi.plan.asking import ask, serve
from doremi.plan.footprint import meta_model
from doremi.rundir import costs
from doremi.rundir.specs import Scoring, TrainingSpec
from doremi.training import loop as training
from doremi.training.determinism import set_deterministic
from doremi.training.reference_losses import LiveReference, ReferenceLosses, StoredReference, write_store

REPEATS = 5  # medians are of five
SECONDS = 3.0  # of steps, at least
WARM_UP = 2  # steps that are not counted
EVALUATED = 4  # batches of the trial's validation set, at most
NEVER = 10**9
TRIAL = "trial"  # what the corpus and the reference of a trial have in place of a hash


@dataclass(frozen=True)
class Measured:
    """Seconds of the parts of a training, and the process's peak memory in bytes (of the device, where it is a GPU)."""

    loading: float
    """Of starting Python, PyTorch and transformers; once a command."""
    once: float
    """What a process's first training and evaluation take longer than later ones: libraries, compiling."""
    start: float
    """Of one training beside what follows: building, the first step's extra, writing its model."""
    step: float
    evaluation: float
    """One batch of an evaluation."""
    saving: float
    """One checkpoint."""
    losses: float
    """One batch of reference losses that are kept."""
    memory: int


def measure(config: RunConfig, spec: TrainingSpec, size: str, corpus: Corpus) -> Measured:
    """Calibrate a training of a run, but for its steps, in a process of its own; `size` is what its model is called.

    `TrainingError` where it ends early: the device cannot hold this training. What was found is kept (kept.py).
    """
    request = _request(config, spec, corpus)
    found = ask("calibration", request, f"{'plain' if spec.scoring is None else 'proxy'} {size}")
    kept.write(request, found)
    return Measured(**found)


def measured_before(config: RunConfig, spec: TrainingSpec, corpus: Corpus) -> tuple[Measured, str] | None:
    """The same as it was found here before, with the day; None where nothing is kept."""
    held = kept.read(_request(config, spec, corpus))
    return None if held is None else (Measured(**held.answer), held.day)


def _request(config: RunConfig, spec: TrainingSpec, corpus: Corpus) -> dict[str, Any]:
    settings = spec.settings.model_dump(mode="json")
    return {
        "config": {**config.model_dump(mode="json"), "training": settings},
        "model": spec.model,
        "losses": None if spec.scoring is None else spec.scoring.losses,
        "vocab_size": corpus.tokenizer.vocab_size,
        "validation_tokens": sum(corpus.count("validation", "tokens")),
    }


def measure_preparation(config: RunConfig) -> dict[str, Any]:
    """What `corpus.survey.survey` says, and the peak `memory`, from a process of its own."""
    return ask("preparation", {"config": config.model_dump(mode="json")}, "prepare")


# -- the process that measures ---------------------------------------------------------------------------------------


class Stopwatch(Watch):
    """A watch that notes when each step ends, and stops the training after `SECONDS` of steps."""

    def __init__(self, seconds: float, steps: int) -> None:
        self.seconds, self.steps = seconds, steps
        self.ends: list[float] = []

    def emit(self, event: Event) -> None:
        if not isinstance(event, Stepped):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())

    def stop_requested(self) -> bool:
        return len(self.ends) >= self.steps and self.ends[-1] - self.ends[0] >= self.seconds


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what a request asks in a temporary folder."""
    config = validate(request["config"], "calibration")
    model, vocab_size = json.loads(request["model"]), request["vocab_size"]
    meta_model(model, vocab_size, 2)  # loads what builds models, as a run has before any stage
    loading = time.time() - request["began"]
    world = distributed.start(config.training.timeout)
    torch.set_num_threads(int(config.training.threads))
    set_deterministic(config.training.deterministic is True, world.device)
    with tempfile.TemporaryDirectory(prefix="doremi-plan-") as name:
        found = _Trial.of(request, config, world, Path(name)).measured()
        return {"loading": loading, **asdict(found), "memory": _peak(world)}


def _peak(world: World) -> int:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True)
class _Seconds:
    once: float
    start: float
    step: float
    evaluation: float
    saving: float
    losses: float


@dataclass(frozen=True)
class _Trial:
    """A training on random tokens in a temporary folder."""

    spec: TrainingSpec
    corpus: Corpus
    folder: Path
    world: World

    @classmethod
    def of(cls, request: Mapping[str, Any], config: RunConfig, world: World, folder: Path) -> _Trial:
        plan = {"steps": NEVER, "evaluate_every": NEVER, "checkpoint_every": NEVER}
        length = config.data.sequence_length
        memory = device_memory(world.device)
        rows = costs.evaluation_rows(length, memory)
        batches = min(EVALUATED, -(-request["validation_tokens"] // (rows * length)))
        corpus = random_corpus(config, folder / "corpus", request["vocab_size"], batches * rows * length)
        losses = request["losses"]
        spec = TrainingSpec(
            corpus=corpus.fingerprint, sequence_length=length, model=request["model"],
            settings=config.training.model_copy(update=plan),
            weights=tuple(uniform(list(corpus.domains)).aligned(corpus.domains)), seed=0,
            scoring=None if losses is None else Scoring(config.proxy, TRIAL, losses), device=world.device.type,
            device_memory=memory,
        )  # fmt: skip
        return cls(spec, corpus, folder, world)

    def measured(self) -> _Seconds:
        """Train twice: what is slow only once in a process (loading libraries, compiling) is not repeated later."""
        began = time.monotonic()
        reference, storing = self._reference()
        _, ends = self._train("first", reference, Stopwatch(0.0, WARM_UP))
        first = ends[0] - began - (1 + REPEATS) * storing
        gc.collect()
        began, watch = time.monotonic(), Stopwatch(SECONDS, WARM_UP + REPEATS)
        job, ends = self._train("second", reference, watch)
        step, later = _median_step(ends), ends[0] - began
        trainer = training.Trainer(job, self.world, watch)
        done = trainer.restore()
        evaluating, evaluation = _first_and_median(lambda: trainer.evaluate(done))

        def save_all() -> None:
            trainer.save(done)
            trainer.saver.finish()  # the next one would wait for it

        _, saving = _first_and_median(save_all)
        length, memory = self.spec.sequence_length, self.spec.device_memory
        rows = costs.losses_rows(self.spec.settings, length, memory)
        return _Seconds(
            once=max(0.0, first - later) + max(0.0, evaluating - evaluation),
            start=later - step + self._saved(job),
            step=step,
            evaluation=evaluation / costs.evaluation_batches(self.corpus, length, memory),
            saving=saving,
            losses=storing / costs.losses_batches(self.corpus, length, rows),
        )

    def _train(
        self, name: str, reference: ReferenceLosses | None, watch: Stopwatch
    ) -> tuple[training.Job, list[float]]:
        """Build a job and train it until the watch says stop; when its steps ended."""
        job = self._job(name, reference)
        with contextlib.suppress(Interrupted):
            training.train(job, self.world, watch)
        return job, watch.ends

    def _saved(self, job: training.Job) -> float:
        """Seconds to write the model, where one is written."""
        if self.spec.scoring is not None:
            return 0.0
        empty = self.folder / "tokenizer"
        empty.mkdir(exist_ok=True)
        start = time.monotonic()
        save(job.model.lm, empty, self.folder / "model")
        return time.monotonic() - start

    def _job(self, name: str, reference: ReferenceLosses | None) -> training.Job:
        objective: tuple[str, Objective] = ("plain", PlainObjective())
        if self.spec.scoring is not None:
            domains, vocab_size = self.corpus.domains, self.corpus.tokenizer.vocab_size
            objective = ("dro", make_objective(self.spec.scoring.proxy, domains, vocab_size, uniform(list(domains))))
        folder = self.folder / name
        folder.mkdir()
        return trainings.make_job(
            self.corpus, folder, self.spec, self.world, name=name, objective=objective, reference=reference
        )

    def _reference(self) -> tuple[ReferenceLosses | None, float]:
        """The frozen model as a proxy has it; where its losses are kept, the seconds of writing all of them."""
        spec, corpus = self.spec, self.corpus
        if spec.scoring is None:
            return None, 0.0
        length, settings = spec.sequence_length, spec.settings
        module = trainings.fresh_model(corpus, spec, 1, self.world).to(self.world.device).eval()
        trainings.give_room(module, spec, self.world)
        forward = training.forward_pass(module, settings, self.world.device)
        rows = costs.losses_rows(settings, length, spec.device_memory)
        if spec.scoring.losses == "live":
            return LiveReference(module, forward), 0.0
        folder = self.folder / "losses"

        def store() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            write_store(folder, corpus, length, TRIAL, forward, self.world, rows)

        _, seconds = _first_and_median(store)
        return StoredReference(folder, corpus, length, TRIAL), seconds


def _first_and_median(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the first time, and the median of later ones."""
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.monotonic()
        work()
        seconds.append(time.monotonic() - start)
    return seconds[0], statistics.median(seconds[1:])


def _median_step(ends: list[float]) -> float:
    """Median over five equal blocks of steps of a step's mean: a block holds the lines of the log in their measure."""
    blocks = np.array_split(np.diff(ends[WARM_UP - 1 :]), REPEATS)
    return float(np.median([block.mean() for block in blocks]))


def random_corpus(config: RunConfig, folder: Path, vocab_size: int, validation_tokens: int) -> Corpus:
    """A corpus of random tokens with the configured domains, a few batches long."""
    length, names = config.data.sequence_length, list(config.domains)
    dtype = "uint16" if vocab_size <= 2**16 else "uint32"
    rng = np.random.default_rng(0)
    train = (4 * config.training.batch_size // len(names) + 1) * length + 1
    half = max(1, validation_tokens // (2 * len(names)))  # of a domain: one document a split
    entries = {}
    for name in names:
        with DomainWriter(folder / folder_name(name), dtype) as writer:
            writer.train.add(_random(rng, vocab_size, train, dtype), train)
            for number in (0, 1):
                writer.validation.add(_random(rng, vocab_size, half, dtype), half, number)
            written = writer.finish()
            train_counts, held = split_counts(written["train"]), split_counts(written["validation"])
            entries[name] = DomainEntry(folder_name(name), train_counts, held)
    tokenizer = TokenizerEntry("trained", "", vocab_size, "", 0)
    return Corpus(folder, tokenizer, dtype, entries, TRIAL)


def _random(rng: np.random.Generator, vocab_size: int, number: int, dtype: str) -> bytes:
    return rng.integers(0, vocab_size, number).astype(np.dtype(dtype).newbyteorder("<")).tobytes()


if __name__ == "__main__":
    serve(answer)
