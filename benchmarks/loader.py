"""Tokens a second that one core reads: batches of 64 x 1024 from 8 memory-mapped domains in the page cache.

python benchmarks/loader.py

Cold: before each round the system is asked to forget the files (posix_fadvise DONTNEED, after writing them out), and
no sequence is read twice. What caches the disk below this system, as the host of a virtual machine does, stays warm.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from doremi.corpus.loader import BatchStream, windows
from doremi.corpus.sampler import Sampler
from doremi.corpus.store import FlatFile
from figures import figure

BATCH, LENGTH, DOMAINS, TOKENS = 64, 1024, 8, 8_000_000


def cold_rates(stream: BatchStream, files: list[Path], steps: int, rounds: int) -> list[float]:
    """Tokens a second of each round, all of them from the disk."""
    rates = []
    for number in range(rounds):
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        for step in range(number * steps, (number + 1) * steps):
            stream.micro_batches(step)
        rates.append(steps * BATCH * LENGTH / (time.perf_counter() - start))
    return rates


def main(steps: int = 100, rounds: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.bin" for i in range(DOMAINS)]
        for number, path in enumerate(files):
            np.random.default_rng(number).integers(0, 50_000, TOKENS).astype("<u2").tofile(path)
        sampler = Sampler([1 / DOMAINS] * DOMAINS, [windows(TOKENS, LENGTH)] * DOMAINS, BATCH, "bench")
        stream = BatchStream(sampler, [FlatFile(path, "uint16") for path in files], LENGTH)
        rates, sampling = [], []
        for number in range(rounds + 1):
            start = time.perf_counter()
            for step in range(number * steps, (number + 1) * steps):
                stream.micro_batches(step)
            rates.append(steps * BATCH * LENGTH / (time.perf_counter() - start))
            start = time.perf_counter()
            for step in range(number * steps, (number + 1) * steps):
                sampler.rows(step)
            sampling.append((time.perf_counter() - start) / steps)
        cold = cold_rates(stream, files, steps, rounds)
        start = time.perf_counter()
        sampler.rows(10**9)
        seek = time.perf_counter() - start
    figure("loader_tokens_per_second_per_core", statistics.median(rates[1:]), "tokens/s",
           low=round(min(rates[1:])), high=round(max(rates[1:])))  # fmt: skip
    figure("loader_cold_tokens_per_second", statistics.median(cold), "tokens/s",
           low=round(min(cold)), high=round(max(cold)))  # fmt: skip
    figure("sampler_milliseconds_per_step", 1000 * statistics.median(sampling[1:]), "ms")
    figure("sampler_seek_milliseconds", 1000 * seek, "ms")


if __name__ == "__main__":
    main()
