"""`doremi` on a rank that something happens to: `torchrun ... tests/bad_rank.py WHAT RANK doremi's arguments ...`."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any
from unittest import mock

import torch

from doremi.cli import commands as cli
from doremi.corpus.store import FlatFile
from doremi.distributed import vigil
from doremi.pipeline import workspace
from doremi.training import loop as train

STEP = 5


def not_a_number() -> Any:
    """The loss of one sequence becomes NaN."""
    right = train.Trainer._counts
    seen = [0]

    def counts(self: train.Trainer, batch: train.DeviceBatch) -> torch.Tensor:
        seen[0] += 1
        if seen[0] == STEP:
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))
        return right(self, batch)

    return mock.patch.object(train.Trainer, "_counts", counts)


def read_error() -> Any:
    """The disk fails in the middle of a token file."""
    right, reads = FlatFile.read, [0]

    def read(self: FlatFile, start: int, out: Any) -> None:
        reads[0] += 1
        if reads[0] == 10 * STEP:
            with mock.patch("os.pread", side_effect=OSError(5, "Input/output error")):
                right(self, start, out)
        right(self, start, out)

    return mock.patch.object(FlatFile, "read", read)


def at_step(what: int) -> Any:
    """The process sends itself a signal: dies, stands still, or is asked to end; once, not after a restart."""
    right = train.Trainer.optimizer_step

    def optimizer_step(self: train.Trainer, step: int) -> torch.Tensor:
        if step == STEP and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), what)
        return right(self, step)

    return mock.patch.object(train.Trainer, "optimizer_step", optimizer_step)


def stuck(rank: str) -> Any:
    """One process stands still, and the others wait for it where nothing can be heard, as for a GPU."""
    right = train.Trainer.optimizer_step

    def optimizer_step(self: train.Trainer, step: int) -> torch.Tensor:
        if step == STEP:
            if os.environ["RANK"] == rank:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1000)
        return right(self, step)

    vigil.EVERY_SECONDS, vigil.SILENT_SECONDS, vigil.LATER_SECONDS = 0.5, 5.0, 1.0
    return mock.patch.object(train.Trainer, "optimizer_step", optimizer_step)


def out_of_memory(rank: str) -> Any:
    """GPUs of which one has too little memory for a whole batch, always."""
    right = train.Trainer.forward_backward

    def forward_backward(self: train.Trainer, batches: list[train.DeviceBatch]) -> torch.Tensor:
        if os.environ["RANK"] == rank and len(batches) < 2 and self.step == STEP:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 6.10 GiB")
        return right(self, batches)

    mock.patch.object(workspace, "device_memory", return_value=80 * 2**30).start()
    return mock.patch.object(train.Trainer, "forward_backward", forward_backward)


def main() -> None:
    what, rank, *arguments = sys.argv[1:]
    patch = {
        "nan": not_a_number,
        "read error": read_error,
        "killed": lambda: at_step(signal.SIGKILL),
        "hung": lambda: at_step(signal.SIGSTOP),
        "terminated": lambda: at_step(signal.SIGTERM),
        "stuck": lambda: stuck(rank),
        "out of memory": lambda: out_of_memory(rank),
    }[what]()
    sys.argv = ["doremi", *arguments]
    if what in ("stuck", "out of memory") or os.environ["RANK"] == rank:
        patch.start()
    cli.main()


if __name__ == "__main__":
    main()
