"""Trainings behind docs/results/recipe.md: how sure a comparison of mixtures is under a recipe of training.

python studies/recipe.py FOLDER STAGE [--part 0/2]

Each training is a line of FOLDER/trainings-*.jsonl, and giving the command again goes on. Parts share the work between
processes of one thread each. recipe_tables.py reads the lines. The text is that of configs/study.yaml: recipes are
found on eight of its domains, and held on the four that the study holds out (study.py).

Shapes: K domains.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from doremi.config import TrainingConfig
from doremi.config.neutral import neutral_values
from doremi.corpus.loader import BatchStream
from doremi.corpus.sampler import I64, Sampler
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.events.event import Event
from doremi.events.stream import Watch
from doremi.files import key_of
from doremi.mixture.domains import Mixture
from doremi.model.build import count_parameters, eval_mode
from doremi.model.presets import shape
from doremi.objectives.plain import PlainObjective
from doremi.pipeline.trainings import fresh_model, make_job
from doremi.rundir.layout import RunDirectory
from doremi.rundir.specs import TrainingSpec, canonical
from doremi.training.batches import DeviceBatch
from doremi.training.loop import Job, Trainer
from recipe_stages import STAGES, Case
from study import CHOSEN, CONFIG, HELD_OUT, TEXT

LENGTH = 128
SKEW = 3.0  # how many times the weight of the others every other domain has in the skewed mixture
DOMAINS = {"chosen": CHOSEN, "held": HELD_OUT}


class Silent(Watch):
    """A watch that shows nothing."""

    def emit(self, event: Event) -> None: ...
    def stop_requested(self) -> bool:
        return False


class Shelves(Sampler):
    """A sampler that puts a shelf of B sequences a domain before each step, of which a mixture takes the first ones.

    So mixtures meet the same sequences at the same step. A pass over a domain has some sequences not at all.
    """

    def drawn(self, step: int) -> I64:
        return np.full(len(self._keys), step * self.batch_size)


class LateMean:
    """The mean of a model's weights over the last `share` of its steps."""

    def __init__(self, module: nn.Module, share: float, steps: int) -> None:
        self.module, self.first, self.number = module, steps - round(share * steps) + 1, 0
        self.mean = [torch.zeros_like(p) for p in module.parameters()]

    def see(self, step: int) -> None:
        """Add the weights after `step`, if it is late enough."""
        if step >= self.first:
            self.number += 1
            for mean, parameter in zip(self.mean, self.module.parameters(), strict=True):
                mean.lerp_(parameter.detach(), 1 / self.number)

    def put(self) -> None:
        """Give the model the mean of its weights."""
        for mean, parameter in zip(self.mean, self.module.parameters(), strict=True):
            parameter.data.copy_(mean)


def corpus_of(folder: Path, which: str) -> Corpus:
    """The prepared corpus of some domains."""
    if not (folder / which / "corpus" / "manifest.json").exists():
        data = ", ".join(f"{domain}: {TEXT / domain}" for domain in DOMAINS[which])
        words = [sys.executable, "-m", "doremi", "prepare", str(CONFIG)]
        for setting in (f"data.domains={{{data}}}", f"runs={folder}", f"name={which}", "training.batch_size=16"):
            words += ["--set", setting]
        subprocess.run(words, check=True)
    return RunDirectory(folder / which).whole_corpus()


def mixture_of(corpus: Corpus, name: str) -> Mixture:
    """By name: natural, uniform or skewed."""
    if name == "natural":
        return Mixture(corpus.natural_sizes({}))
    return Mixture({d: SKEW if name == "skewed" and k % 2 else 1.0 for k, d in enumerate(corpus.domains)})


def job_of(corpus: Corpus, case: Case, folder: Path, world: World) -> Job:
    """A training as the package would do it, but for what the case asks otherwise."""
    settings = TrainingConfig.model_validate(
        {"precision": "float32", "compile": False, "threads": case.threads}
        | {**neutral_values(TrainingConfig), "initial_spread": case.recipe.init, **case.recipe.settings}
    )
    model = canonical(shape(case.size, None, {}))
    weights = tuple(mixture_of(corpus, case.mixture).aligned(corpus.domains))
    spec = TrainingSpec(corpus.training.fingerprint, LENGTH, model, settings, weights, case.order)
    job = make_job(corpus, folder, spec, world, name=case.recipe.name, objective=("plain", PlainObjective()))
    if case.shelves:
        old = job.stream
        counts = [int(n) for n in old.sampler._sequences]
        shelves = Shelves(weights, counts, settings.batch_size, spec.order)
        job = replace(job, stream=BatchStream(shelves, old.files, LENGTH))
    if case.init != case.order:
        job = replace(job, model=fresh_model(corpus, spec, case.init, world))
    return job


def trained(corpus: Corpus, case: Case) -> dict[str, Any]:
    """Train one; its losses in bits a byte `[K]`, with the last weights and with late means."""
    torch.set_num_threads(case.threads)
    world, start = World(0, 1, torch.device("cpu")), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(corpus, case, Path(folder), world)
        trainer = Trainer(job, world, Silent())
        means = {f"mean {share:g}": LateMean(trainer.model, share, job.settings.steps) for share in case.recipe.late}
        for step in range(1, job.settings.steps + 1):
            batches = [DeviceBatch.of(batch, world.device) for batch in job.stream.micro_batches(step - 1)]
            trainer.forward_backward(batches)
            trainer.optimizer_step(step)
            for mean in means.values():
                mean.see(step)
        losses = {"last": bits(trainer, job, world)}
        for name, mean in means.items():
            mean.put()
            losses[name] = bits(trainer, job, world)
    body = count_parameters(trainer.model)[0]
    return {"bits_per_byte": losses, "body": body, "seconds": round(time.monotonic() - start, 2)}


def bits(trainer: Trainer, job: Job, world: World) -> list[float]:
    """Bits a byte of all held-out documents of each domain, `[K]`."""
    with eval_mode(trainer.model):
        nats = job.validation.nats(trainer.evaluating, world)
    documents, k = job.validation.documents, len(job.domains)
    total, size = (np.bincount(documents.domain, weights=x, minlength=k) for x in (nats, documents.bytes))
    return (total / size / np.log(2)).tolist()


def known(folder: Path) -> set[str]:
    """Keys of the trainings that are there."""
    lines = (line for file in folder.glob("trainings-*.jsonl") for line in file.read_text().splitlines())
    return {json.loads(line)["key"] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--part", default="0/1", help="which part of how many (default 0/1)")
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    corpora = {which: corpus_of(args.folder, which) for which in DOMAINS}
    for case in STAGES[args.stage]()[part::parts]:
        key = key_of(asdict(case))
        if key not in known(args.folder):
            line = {"key": key, "stage": args.stage, "case": asdict(case), **trained(corpora[case.domains], case)}
            with (args.folder / f"trainings-{part}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
