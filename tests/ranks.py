"""Search runs under `torchrun`, several in one launch: what each rank read, alpha's path, the first gradient.

    torchrun --standalone --nproc-per-node 2 tests/ranks.py CASES.json

A case is {"config": path, "out": folder, "mutant": name or null, "stop_after": steps or null, "goes_on": folder of a
stopped case or null}; rank 0 writes out/alpha.npy `[steps, K]` and out/gradient.npy, each rank out/rows-<rank>.json.
The mutants are mistakes that other implementations make; the test must tell them from ours.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from doremi import distributed, files
from doremi.config import load
from doremi.corpus.loader import Batch, BatchStream
from doremi.distributed import World
from doremi.errors import Interrupted
from doremi.executors.choose import chosen
from doremi.objectives.objective import Scoring
from doremi.pipeline import run
from doremi.pipeline.workspace import open_workspace
from doremi.rundir import metrics
from doremi.rundir.layout import RunDirectory
from doremi.training.batches import DeviceBatch
from doremi.training.loop import Trainer, weighted_loss
from tiny import Silent

Patch = tuple[Any, str, Callable[..., Any]]


def main(cases: Path) -> None:
    world = distributed.start()
    for case in json.loads(cases.read_text()):
        run_case(case, world)
    distributed.stop()


def run_case(case: dict[str, Any], world: World) -> None:
    out = Path(case["out"])
    if world.is_main:
        if case["goes_on"]:
            ours = shutil.ignore_patterns("rows-*", "*.yaml")
            shutil.copytree(case["goes_on"], out, ignore=ours, dirs_exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
    world.barrier()
    rows: list[list[list[int]]] = []
    with recording(world, out, rows), mutated(case.get("mutant"), world):
        search(Path(case["config"]), world, case.get("stop_after"))
    (out / f"rows-{world.rank}.json").write_text(json.dumps(rows))
    proxy = RunDirectory(load(Path(case["config"])).root).proxy(0)
    if world.is_main and proxy.finished:
        np.save(out / "alpha.npy", proxy.trace()["weights"])
    world.barrier()


def search(config: Path, world: World, stop_after: int | None) -> None:
    with open_workspace(load(config), world, Silent(stop_after)) as space, contextlib.suppress(Interrupted):
        run.search(space, chosen)


# -- what is recorded -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def recording(world: World, out: Path, rows: list[list[list[int]]]) -> Iterator[None]:
    """What the stages read, and the gradient of the proxy's first step; no rank but the first may write a file."""
    read, step = BatchStream.micro_batches, Trainer.optimizer_step

    def micro_batches(self: BatchStream, number: int) -> list[Batch]:
        batches = read(self, number)
        rows.append([[int(d), int(s)] for b in batches for d, s in zip(b.domain_B, b.sequence_B, strict=True)])
        return batches

    def optimizer_step(self: Trainer, number: int) -> Tensor:
        if number == 1 and self.job.objective.scoring is not None:
            gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
            whole = world.whole(gradients)
            if world.is_main:
                np.save(out / "gradient.npy", torch.cat([g.flatten() for g in whole.values()]).numpy())
        return step(self, number)

    def write_bytes(path: Path, data: bytes) -> None:
        assert world.is_main, f"rank {world.rank} writes {path}"
        write(path, data)

    write = files.write_bytes
    with (
        mock.patch.object(files, "write_bytes", write_bytes),
        mock.patch.object(metrics, "write_bytes", write_bytes),
        mock.patch.object(BatchStream, "micro_batches", micro_batches),
        mock.patch.object(Trainer, "optimizer_step", optimizer_step),
    ):
        yield


# -- mistakes ---------------------------------------------------------------------------------------------------------


def scoring_of(trainer: Trainer) -> Scoring:
    assert trainer.job.objective.scoring is not None
    return trainer.job.objective.scoring


def scores_of_one_rank(trainer: Trainer, sums_2K: Tensor) -> Tensor:
    """Each rank updates its weights with its own share of the batch."""
    scoring_of(trainer).update(sums_2K)
    return trainer.job.objective.token_weights(trainer.world.sum(sums_2K)[1])


def stale_on_other_ranks(trainer: Trainer, sums_2K: Tensor) -> Tensor:
    """Rank 0 alone uses the weights of this step, the others those of the step before."""
    sums_2K = trainer.world.sum(sums_2K)
    before = trainer.job.objective.token_weights(sums_2K[1])
    scoring_of(trainer).update(sums_2K)
    return trainer.job.objective.token_weights(sums_2K[1]) if trainer.world.is_main else before


def stale_in_early_micro_batches(trainer: Trainer, batches: list[DeviceBatch]) -> Tensor:
    """Weights are updated after each micro-batch's scores, so that the first ones use old ones."""
    objective, sums = trainer.job.objective, torch.zeros(2, trainer.k, dtype=torch.float64)
    count_K = trainer.world.sum(torch.stack([trainer._counts(batch) for batch in batches]).sum(dim=0))
    losses = torch.zeros(2, trainer.k, dtype=torch.float64)
    for number, batch in enumerate(batches):
        loss_BT = trainer.forward(batch.input_BT, batch.label_BT)
        sums += trainer._sums(batch, loss_BT)
        if number == len(batches) - 1:
            scoring_of(trainer).update(trainer.world.sum(sums))
        loss = weighted_loss(loss_BT, batch.mask_BT, batch.domain_B, objective.token_weights(count_K))
        (loss * trainer.world.size).backward()
        losses[1] += trainer._counts(batch)
    return trainer.world.sum(torch.cat([losses + 1, trainer.spread_3K]))


@contextlib.contextmanager
def mutated(name: str | None, world: World) -> Iterator[None]:
    if name is None:
        yield
        return
    patch: Patch = {
        "scores of one rank": (Trainer, "_update", scores_of_one_rank),
        "stale on other ranks": (Trainer, "_update", stale_on_other_ranks),
        "stale in early micro-batches": (Trainer, "forward_backward", None),
    }[name]
    if name == "stale in early micro-batches":
        right = Trainer.forward_backward

        def wrong(self: Trainer, batches: list[DeviceBatch]) -> Tensor:
            scored = self.job.objective.scoring is not None
            return stale_in_early_micro_batches(self, batches) if scored else right(self, batches)

        patch = (Trainer, "forward_backward", wrong)
    with mock.patch.object(*patch):
        yield


if __name__ == "__main__":
    main(Path(sys.argv[1]))
