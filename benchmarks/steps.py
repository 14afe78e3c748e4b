"""Cost of a training step at the 1M preset: plain, Group DRO, and what lies outside forward, backward and optimiser.

python benchmarks/steps.py [--preset 1m] [--steps 20] [--compile]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from doremi.config import TrainingConfig
from doremi.corpus.loader import BatchStream, windows
from doremi.corpus.sampler import Sampler
from doremi.corpus.store import FlatFile
from doremi.distributed import World
from doremi.events.event import Event
from doremi.events.stream import Watch
from doremi.mixture.domains import DomainSet
from doremi.model.build import TokenLosses, build, count_parameters
from doremi.model.presets import shape
from doremi.model.room import logits_room
from doremi.objectives.dro import GroupDRO
from doremi.objectives.plain import PlainObjective
from doremi.objectives.reweighting import Reweighting
from doremi.pipeline.workspace import device_memory
from doremi.training import loop as training
from doremi.training.reference_losses import LiveReference, ReferenceLosses, StoredReference
from figures import figure, interleaved, ratio

VOCAB, LENGTH, BATCH, DOMAINS = 4096, 128, 48, 12
TOKENS = 200_000  # of a domain
OTHER_PRESETS = ("0.1m", "0.3m", "3m")  # at which the share of fetching is shown too; eager
WORLD = World(0, 1, torch.device("cpu"))


class Quiet(Watch):
    """A watch that looks away."""

    def emit(self, event: Event) -> None: ...
    def stop_requested(self) -> bool:
        return False


class FilesOfLosses(StoredReference):
    """Stored losses without the manifest: random ones."""

    def __init__(self, folder: Path) -> None:
        self.sequence_length, self.files = LENGTH, []
        for number in range(DOMAINS):
            path = folder / f"{number}.f16"
            (5 + np.random.default_rng(number).random(TOKENS)).astype("<f2").tofile(path)
            self.files.append(FlatFile(path, "float16"))


def make_trainer(
    folder: Path, preset: str, *, scored: str = "", accumulation: int = 1, lagged: bool = False, compiled: bool = False,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> training.Trainer:  # fmt: skip
    """A trainer on random tokens, as the stages build it; `scored` is empty, live or stored."""
    torch.manual_seed(0)
    settings = TrainingConfig(
        batch_size=BATCH, accumulation=accumulation, precision=precision, compile=compiled,
        threads=torch.get_num_threads(), log_every=10**9, evaluate_every=10**9, checkpoint_every=10**9,
    )  # fmt: skip
    files = [folder / f"{number}.bin" for number in range(DOMAINS)]
    for number, path in enumerate(files):
        np.random.default_rng(number).integers(0, VOCAB, TOKENS).astype("<u2").tofile(path)
    sampler = Sampler([1 / DOMAINS] * DOMAINS, [windows(TOKENS, LENGTH)] * DOMAINS, BATCH, "bench")
    reference: ReferenceLosses | None = None
    if scored == "live":
        frozen = TokenLosses(build(shape(preset, None, {}), VOCAB, LENGTH, 0), LENGTH).to(WORLD.device)
        reference = LiveReference(frozen, training.forward_pass(frozen, settings, WORLD.device))
    elif scored == "stored":
        reference = FilesOfLosses(folder)
    description, model = shape(preset, None, {}), TokenLosses(build(shape(preset, None, {}), VOCAB, LENGTH, 0), LENGTH)
    if (memory := device_memory(WORLD.device)) is not None:
        halved = compiled and precision == "bfloat16"
        rows, parameters = BATCH // accumulation, count_parameters(model)[1]
        model.logits_bytes = logits_room(memory, description, parameters, VOCAB, LENGTH, rows, halved=halved)
    job = training.Job(
        folder=folder,
        name="bench",
        key="",
        settings=settings,
        model=model,
        objective=Reweighting(GroupDRO(DOMAINS), lagged, scores_clipped_excess=True) if scored else PlainObjective(),
        objective_name="bench",
        stream=BatchStream(sampler, [FlatFile(path, "uint16") for path in files], LENGTH, accumulation=accumulation),
        reference=reference,
        validation=None,  # type: ignore[arg-type]  # nothing is evaluated here
        epoch_tokens=[1] * DOMAINS,
        domains=DomainSet(f"domain {i}" for i in range(DOMAINS)),
    )
    return training.Trainer(job, WORLD, Quiet())


def one_step(trainer: training.Trainer, counter: list[int]) -> None:
    counter[0] += 1
    job = trainer.job
    batches = [training.DeviceBatch.of(b, WORLD.device, job.reference) for b in job.stream.micro_batches(counter[0])]
    losses = trainer.forward_backward(batches)
    norm = trainer.optimizer_step(counter[0])
    trainer.record(counter[0], losses, norm)


def bare_step(trainer: training.Trainer) -> None:
    """The floor: the same compiled model and optimiser on one fixed batch, nothing fetched, weighted or recorded."""
    batch = FIXED[0]
    trainer.forward(batch.input_BT, batch.label_BT).mean().backward()
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()


FIXED: list[training.DeviceBatch] = []


def outside_seconds(trainer: training.Trainer, repeats: int) -> tuple[float, float]:
    """Median seconds that a step spends on fetching, and on all that is not forward, backward or optimiser.

    They are real steps whose models (the live reference too) answer at once: what is left is fetching, stored losses,
    scores, weights, sums for the log, the weighted sum of the losses and its gradient, and the row of the log.
    """
    ready_BT = torch.rand(BATCH, LENGTH, device=WORLD.device, requires_grad=True)
    reference, forward = trainer.job.reference, trainer.forward
    trainer.forward = lambda *_: ready_BT
    live = reference.forward if isinstance(reference, LiveReference) else None
    if isinstance(reference, LiveReference):
        reference.forward = lambda *_: ready_BT
    fetching, outside = [], []
    for step in range(1, repeats + 1):
        start = time.perf_counter()
        batches = [training.DeviceBatch.of(b, WORLD.device, reference) for b in trainer.job.stream.micro_batches(step)]
        fetching.append(time.perf_counter() - start)
        trainer.record(step, trainer.forward_backward(batches), torch.ones((), device=WORLD.device))
        outside.append(time.perf_counter() - start)
    trainer.forward = forward
    if isinstance(reference, LiveReference) and live is not None:
        reference.forward = live
    return statistics.median(fetching), statistics.median(outside)


def fetch_shares(folder: Path, preset: str, repeats: int) -> None:
    """Share of fetching in a plain step and in one with stored losses, at another preset."""
    trainers = {scored: make_trainer(folder, preset, scored=scored) for scored in ("", "stored")}
    counter = [0]
    seconds = interleaved({scored: partial(one_step, t, counter) for scored, t in trainers.items()}, repeats, 1)
    for scored, trainer in trainers.items():
        share = outside_seconds(trainer, 20)[0] / statistics.median(seconds[scored])
        figure(f"fetch_share_of_{'dro_' if scored else ''}step_{preset}", share, "share")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="1m")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="all ways compiled (a minute more)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make = partial(make_trainer, Path(folder), arguments.preset, compiled=arguments.compile)
        trainers = {
            "plain": make(),
            "live": make(scored="live"),
            "stored": make(scored="stored"),
            "plain in 4": make(accumulation=4),
            "exact in 4": make(scored="stored", accumulation=4),
            "lagged in 4": make(scored="stored", accumulation=4, lagged=True),
        }
        plain = trainers["plain"]
        FIXED.append(training.DeviceBatch.of(plain.job.stream.micro_batches(0)[0], WORLD.device))
        counter = [0]
        ways = {name: partial(one_step, trainer, counter) for name, trainer in trainers.items()}
        seconds = interleaved({"bare": lambda: bare_step(plain), **ways}, arguments.steps)
        outside = {name: outside_seconds(trainers[name], 50) for name in ("plain", "live", "stored")}
    tokens = BATCH * LENGTH
    print(
        f"preset {arguments.preset}, vocabulary {VOCAB}, {BATCH} x {LENGTH} tokens, {torch.get_num_threads()} threads, "
        f"{'compiled' if arguments.compile else 'eager'}"
    )
    for name, values in seconds.items():
        print(f"{name:<12} {tokens / statistics.median(values):>10,.0f} tokens/s")
    for name, one, other in (
        ("plain_step_over_bare_loop", "plain", "bare"),
        ("dro_step_live_over_plain", "live", "plain"),
        ("dro_step_stored_over_plain", "stored", "plain"),
        ("dro_step_exact_accumulation_over_plain", "exact in 4", "plain in 4"),
        ("dro_step_lagged_accumulation_over_plain", "lagged in 4", "plain in 4"),
    ):
        middle, low, high = ratio(seconds, one, other)
        figure(name, middle, "ratio", low=round(low, 3), high=round(high, 3))
    kinds = {"plain": "step", "live": "dro_live_step", "stored": "dro_step"}
    for name, (fetching, rest) in outside.items():
        whole = statistics.median(seconds[name])
        figure(f"fetch_share_of_{kinds[name]}", fetching / whole, "share")
        figure(f"outside_share_of_{kinds[name]}", rest / whole, "share")
    for preset in OTHER_PRESETS:
        with tempfile.TemporaryDirectory() as folder:
            fetch_shares(Path(folder), preset, 3)


if __name__ == "__main__":
    main()
