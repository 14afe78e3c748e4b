"""A data set that is drawn, against copying the same bytes: flat tokens and Megatron's pair, warm.

    python benchmarks/sample.py [--megabytes 200] [--tokens-per-document 700] [--rounds 5] [--workers 1] [--folder DIR]

The corpus has three domains. Lengths of documents spread as those of web text do (log-normal). One domain is drawn
for about three passes. Copying writes the same files elsewhere and flushes them to the disk, as drawing does. All of it
fits in memory, so that no disk is waited for but in flushing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from doremi.drawing.counts import count
from doremi.drawing.order import Order
from doremi.drawing.shards import Job, write_shards
from doremi.drawing.source import Source
from doremi.files import flush_to_disk
from figures import figure, interleaved, ratio

SHARES = (0.3, 0.3, 0.4)  # of the tokens that are drawn
SIZES = (0.6, 0.27, 0.13)  # of the tokens that are there
SHARD_BYTES = 1 << 26


def write_corpus(folder: Path, tokens: int, length: float) -> tuple[Source, tuple[int, ...]]:
    """Random tokens of 16 bits, and how many documents each domain has."""
    rng, documents = np.random.default_rng(0), []
    for i, share in enumerate(SIZES):
        own = folder / str(i)
        own.mkdir()
        lengths = np.maximum(2, rng.lognormal(np.log(length) - 0.5, 1.0, int(tokens * share / length))).astype(np.int64)
        np.cumsum(lengths).astype("<u8").tofile(own / "train.ends")
        rng.integers(1, 2**16, int(lengths.sum()), dtype=np.uint16).tofile(own / "train.bin")
        documents.append(len(lengths))
    folders = tuple(folder / str(i) for i in range(len(SIZES)))
    return Source(folders, folder, "uint16", 0), tuple(documents)


def draw(source: Source, documents: tuple[int, ...], folder: Path, to: str, tokens: int, workers: int) -> None:
    """All that the command does for the bytes: counting, drawing, writing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    order = Order(documents, "sample/0")
    draws = [count(order, i, source.ends(i), round(share * tokens)).draws for i, share in enumerate(SHARES)]
    shards = -(-2 * tokens // SHARD_BYTES)
    job = Job(folder, to, source, order, tuple(draws), shards)
    write_shards(job, range(shards), workers, lambda: None)


def copy(drawn: Path, folder: Path) -> None:
    """The same files by the system's own copying."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in sorted(drawn.iterdir()):
        shutil.copyfile(path, folder / path.name)
        flush_to_disk(folder / path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--tokens-per-document", type=float, default=700.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="where to write, for example a file system in memory")
    arguments = parser.parse_args()
    tokens = int(arguments.megabytes * 1e6 / 2)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        source, documents = write_corpus(folder, tokens, arguments.tokens_per_document)
        ways: dict[str, Callable[[], object]] = {}
        for to in ("flat", "megatron"):
            ways[to] = partial(draw, source, documents, folder / to, to, tokens, arguments.workers)
            ways[f"copy of {to}"] = partial(copy, folder / to, folder / f"{to}-copy")
        os.sync()
        seconds = interleaved(ways, arguments.rounds, warm_up=1)
        for to in ("flat", "megatron"):
            middle, low, high = ratio(seconds, to, f"copy of {to}")
            more = {"lowest": round(low, 3), "highest": round(high, 3), "seconds": round(min(seconds[to]), 3)}
            figure(f"{to}_over_copy", middle, "ratio", digits=3, **more)


if __name__ == "__main__":
    main()
