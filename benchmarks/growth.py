"""How the time of a step grows with tokens, domains, vocabulary, batch and processes: small sizes, one line each.

    python benchmarks/growth.py [--repeats 5] [--preset 0.3m]

A line is what was varied, the times, and the exponent: the slope of log time over log size (1 is proportional, 0 is
free) with its standard error. A step holds a constant part too, so that slopes at small sizes lie below those at
large ones. Processes are gloo's on this machine, with one thread each and the same batch for each, so that time that
does not grow is perfect scaling as long as there is a core for each of them.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.spawn import spawn

import steps
from doremi import distributed
from figures import figure, interleaved
from steps import one_step

LENGTH, BATCH, DOMAINS, VOCABULARY = 64, 24, 6, 2048
SIZES = {
    "tokens": (16, 32, 64, 128),  # of a sequence
    "batch": (6, 12, 24, 48),
    "vocabulary": (1024, 4096, 16_384),
    "domains": (3, 12, 48, 192),
}


def slope(sizes: list[float], seconds: list[float]) -> tuple[float, float]:
    """Exponent of the power law through the points, and its standard error (0 with two points)."""
    x, y = np.log(sizes), np.log(seconds)
    x = x - x.mean()
    exponent = float(x @ y / (x @ x))
    rest = y - y.mean() - exponent * x
    return exponent, float(np.sqrt(rest @ rest / max(1, len(x) - 2) / (x @ x)))


def set_sizes(what: str = "", size: int = 0) -> None:
    """The sizes that the header states, with one thing set to `size`."""
    sizes = {"tokens": LENGTH, "batch": BATCH, "vocabulary": VOCABULARY, "domains": DOMAINS}
    if what:
        sizes[what] = size
    steps.LENGTH, steps.BATCH = sizes["tokens"], sizes["batch"]
    steps.VOCAB, steps.DOMAINS = sizes["vocabulary"], sizes["domains"]


def step_of(folder: Path, preset: str, what: str, size: int) -> Callable[[], object]:
    """A stored-reference DRO step with one thing set to `size`."""
    folder = folder / f"{what}-{size}"
    folder.mkdir()
    set_sizes(what, size)
    return partial(one_step, steps.make_trainer(folder, preset, scored="stored"), [0])


def report(what: str, sizes: list[int], seconds: list[float]) -> None:
    exponent, error = slope([float(size) for size in sizes], seconds)
    points = "  ".join(f"{size:,}: {1000 * value:.1f} ms" for size, value in zip(sizes, seconds, strict=True))
    print(f"{what:<11} {exponent:6.2f} +- {error:.2f}   {points}")
    figure(f"growth_exponent_{what}", exponent, "slope", error=round(error, 3))


def rank_seconds(rank: int, size: int, port: int, preset: str, repeats: int, folder: str) -> None:
    """One process of `size`: DDP steps on its own share; the main one leaves the median."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    set_sizes()  # this process has imported `steps` anew
    steps.WORLD = distributed.start()
    own = Path(folder) / f"{size}-{rank}"
    own.mkdir()
    trainer = steps.make_trainer(own, preset, scored="stored")
    seconds = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        one_step(trainer, [number])
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        (Path(folder) / f"{size}.seconds").write_text(str(statistics.median(seconds[2:])))
    distributed.stop()


def with_processes(size: int, preset: str, repeats: int, folder: str) -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(rank_seconds, (size, port, preset, repeats, folder), nprocs=size)
    return float((Path(folder) / f"{size}.seconds").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--preset", default="0.3m")
    arguments = parser.parse_args()
    print(
        f"stored-reference DRO step, preset {arguments.preset}, eager; where not varied: {BATCH} x {LENGTH} tokens, "
        f"vocabulary {VOCABULARY}, {DOMAINS} domains, {torch.get_num_threads()} threads"
    )
    with tempfile.TemporaryDirectory() as folder:
        for what, sizes in SIZES.items():
            ways = {str(size): step_of(Path(folder), arguments.preset, what, size) for size in sizes}
            seconds = interleaved(ways, arguments.repeats)
            report(what, list(sizes), [statistics.median(values) for values in seconds.values()])
        counts = [1, 2]
        report("processes", counts, [with_processes(n, arguments.preset, arguments.repeats, folder) for n in counts])


if __name__ == "__main__":
    main()
