"""Cost of a training step at the 1M preset: plain, Group DRO, and what lies outside forward, backward and optimiser.

python benchmarks/steps.py [--preset 1m] [--steps 20]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import figure, interleaved, ratio

from doremi import train as training
from doremi.config import TrainingConfig
from doremi.corpus.loader import BatchStream
from doremi.corpus.sampler import Sampler
from doremi.corpus.store import TokenFile
from doremi.distributed import World
from doremi.domains import DomainSet
from doremi.dro import GroupDRO, weighted_loss
from doremi.model import TokenLosses, build, shape
from doremi.reference_losses import LiveReference

VOCAB, LENGTH, BATCH, DOMAINS = 4096, 128, 48, 12
WORLD = World(0, 1, torch.device("cpu"))


class Quiet:
    """A watch that looks away."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def make_trainer(folder: Path, preset: str, *, scored: bool) -> training.Trainer:
    """A trainer on random tokens, as the stages build it."""
    torch.manual_seed(0)
    settings = TrainingConfig(
        batch_size=BATCH, precision="float32", compile=False, threads=torch.get_num_threads(), log_every=10**9,
        evaluate_every=10**9, checkpoint_every=10**9,
    )  # fmt: skip
    files = [folder / f"{number}.bin" for number in range(DOMAINS)]
    for number, path in enumerate(files):
        np.random.default_rng(number).integers(0, VOCAB, 200_000).astype("<u2").tofile(path)
    sampler = Sampler([1 / DOMAINS] * DOMAINS, [1000] * DOMAINS, BATCH, "bench")
    reference = None
    if scored:
        frozen = TokenLosses(build(shape(preset, None, {}), VOCAB, LENGTH, 0), BATCH * LENGTH)
        reference = LiveReference(frozen, frozen)
    job = training.Job(
        folder=folder,
        key="",
        settings=settings,
        model=TokenLosses(build(shape(preset, None, {}), VOCAB, LENGTH, 0), BATCH * LENGTH),
        objective=GroupDRO(DOMAINS) if scored else training.PlainObjective(),
        objective_name="bench",
        stream=BatchStream(sampler, [TokenFile(path, "uint16") for path in files], LENGTH),
        reference=reference,
        lagged=False,
        validation=None,  # type: ignore[arg-type]  # nothing is evaluated here
        epoch_tokens=[1] * DOMAINS,
        domains=DomainSet(f"domain {i}" for i in range(DOMAINS)),
    )
    return training.Trainer(job, WORLD, Quiet())


def one_step(trainer: training.Trainer, counter: list[int]) -> None:
    counter[0] += 1
    batches = [training.DeviceBatch.of(b, WORLD.device) for b in trainer.job.stream.micro_batches(counter[0])]
    losses = trainer.forward_backward(batches)
    norm = trainer.optimizer_step(counter[0])
    trainer.record(counter[0], losses, norm)


def bare_step(trainer: training.Trainer) -> None:
    """The floor: the same model and optimiser on one fixed batch, nothing fetched, weighted or recorded."""
    batch = FIXED[0]
    trainer.model(batch.input_BT, batch.label_BT).mean().backward()
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()


FIXED: list[training.DeviceBatch] = []


def outside_seconds(trainer: training.Trainer, repeats: int) -> list[float]:
    """Seconds a step spends on what is not forward, backward or optimiser: fetching, weights, recording."""
    seconds = []
    for step in range(1, repeats + 1):
        start = time.perf_counter()
        batch = training.DeviceBatch.of(trainer.job.stream.micro_batches(step)[0], WORLD.device)
        fetched = time.perf_counter() - start
        loss_BT = torch.rand(BATCH, LENGTH, requires_grad=True)
        start = time.perf_counter()
        if trainer.scored:
            sums = trainer.job.objective.sums(loss_BT, torch.rand(BATCH, LENGTH), batch.mask_BT, batch.domain_B)
            weights = trainer._update(sums)
        else:
            weights = trainer.job.objective.token_weights(trainer._counts(batch))
        weighted_loss(loss_BT, batch.mask_BT, batch.domain_B, weights)
        losses = torch.stack([trainer._counts(batch), trainer._counts(batch)])
        trainer.record(step, losses, torch.tensor(1.0))
        seconds.append(fetched + time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="1m")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain = make_trainer(Path(folder), arguments.preset, scored=False)
        scored = make_trainer(Path(folder), arguments.preset, scored=True)
        FIXED.append(training.DeviceBatch.of(plain.job.stream.micro_batches(0)[0], WORLD.device))
        counter = [0]
        seconds = interleaved(
            {
                "bare": lambda: bare_step(plain),
                "plain": lambda: one_step(plain, counter),
                "dro": lambda: one_step(scored, counter),
            },
            arguments.steps,
        )
        outside = {name: statistics.median(outside_seconds(t, 50)) for name, t in (("plain", plain), ("dro", scored))}
    tokens = BATCH * LENGTH
    print(
        f"preset {arguments.preset}, vocabulary {VOCAB}, {BATCH} x {LENGTH} tokens, {torch.get_num_threads()} threads"
    )
    for name, values in seconds.items():
        print(f"{name:<6} {tokens / statistics.median(values):>10,.0f} tokens/s")
    for name, one, other in (
        ("plain_step_over_bare_loop", "plain", "bare"),
        ("dro_step_live_over_plain", "dro", "plain"),
    ):
        middle, low, high = ratio(seconds, one, other)
        figure(name, middle, "ratio", low=round(low, 3), high=round(high, 3))
    for name, value in outside.items():
        share = value / statistics.median(seconds[name])
        figure("outside_share_of_step" if name == "plain" else "outside_share_of_dro_step", share, "share")


if __name__ == "__main__":
    main()
