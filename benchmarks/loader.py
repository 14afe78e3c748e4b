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
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from doremi.corpus.loader import BatchStream, windows
from doremi.corpus.sampler import Sampler
from doremi.corpus.token_files import SEGMENT, FlatFile, Segments, TokenSource
from figures import figure, interleaved, ratio

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


SEGMENTS, EACH = 10_000, 100_000  # of each domain, and tokens: as many as lie between two held-out pieces, or fewer
SHORT = 300  # tokens: several of these make a window, as where documents are left out of a file one by one


def in_segments(files: list[Path], each: int) -> list[Segments]:
    """Each domain in so many segments, which lie in its file over and over, with gaps between them."""
    segments = np.zeros(SEGMENTS, SEGMENT)
    segments["offset"] = np.arange(SEGMENTS) * (each + 100) % (TOKENS - each) * 2
    segments["tokens"] = each
    return [Segments([(path, "<u2")], segments, 0, str(path)) for path in files]


def of_segments(files: list[Path], each: int, steps: int, rounds: int) -> tuple[float, float, float]:
    """Seconds over one file for each domain, by those over its segments of so many tokens: median, lowest and highest
    of pairs."""

    # The same windows of both, for drawing them takes as long as reading, and more in some sizes of domains.
    sampler = Sampler(
        [1 / DOMAINS] * DOMAINS, [windows(min(TOKENS, SEGMENTS * each), LENGTH)] * DOMAINS, BATCH, "bench"
    )

    def stream(domains: Sequence[TokenSource]) -> BatchStream:
        return BatchStream(sampler, domains, LENGTH)

    def reading(stream: BatchStream) -> Callable[[], object]:
        return lambda: [stream.micro_batches(step) for step in range(steps)]

    ways = {
        "file": reading(stream([FlatFile(path, "uint16") for path in files])),
        "segments": reading(stream(in_segments(files, each))),
    }
    return ratio(interleaved(ways, rounds), "file", "segments")


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
        long, short = (of_segments(files, each, steps // 5, 20 * rounds) for each in (EACH, SHORT))
        start = time.perf_counter()
        sampler.rows(10**9)
        seek = time.perf_counter() - start
    figure("loader_tokens_per_second_per_core", statistics.median(rates[1:]), "tokens/s",
           low=round(min(rates[1:])), high=round(max(rates[1:])))  # fmt: skip
    figure("loader_cold_tokens_per_second", statistics.median(cold), "tokens/s",
           low=round(min(cold)), high=round(max(cold)))  # fmt: skip
    figure("loader_segments_over_file", long[0], "ratio", low=round(long[1], 3), high=round(long[2], 3))
    figure("loader_short_segments_over_file", short[0], "ratio", low=round(short[1], 3), high=round(short[2], 3))
    figure("sampler_milliseconds_per_step", 1000 * statistics.median(sampling[1:]), "ms")
    figure("sampler_seek_milliseconds", 1000 * seek, "ms")


if __name__ == "__main__":
    main()
