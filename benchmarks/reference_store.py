"""A store of reference losses is written at the rate of bare forward passes: time of writing over theirs.

    python benchmarks/reference_store.py [--preset 1m] [--rounds 7]

Both take the same number of batches of 48 x 128 tokens through the same frozen model: the bare passes one batch again
and again, the store all sequences of four domains, which it reads, rounds, writes, flushes to the disk and hashes.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from doremi.config import TrainingConfig
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.model.build import TokenLosses, build
from doremi.model.presets import shape
from doremi.training.loop import forward_pass
from doremi.training.memory import keep_freed_memory
from doremi.training.reference_losses import write_store
from figures import figure, interleaved, ratio
from steps import BATCH, LENGTH, VOCAB

DOMAINS, BATCHES = 4, 2  # batches of a domain


def random_corpus(folder: Path) -> Corpus:
    """Nothing but what a store needs: training tokens, and a manifest that counts them."""
    tokens, domains = BATCHES * BATCH * LENGTH + 1, {}
    for number in range(DOMAINS):
        name = f"domain {number}"
        domains[name] = {
            "folder": str(number),
            "train": {"documents": 1, "bytes": tokens, "tokens": tokens, "files": {}},
        }
        (folder / str(number)).mkdir(parents=True)
        ids = np.random.default_rng(number).integers(0, VOCAB, tokens)
        ids.astype("<u2").tofile(folder / str(number) / "train.bin")
    tokenizer = {"source": "none", "sha256": "none", "vocab_size": VOCAB, "end_of_text": "", "end_of_text_id": 0}
    manifest = {"domains": domains, "dtype": "uint16", "fingerprint": "random", "tokenizer": tokenizer}
    return Corpus.said_by(manifest, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1m")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    world = World(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if world.device.type == "cpu":
        keep_freed_memory()  # as a training does
    model = TokenLosses(build(shape(arguments.preset, None, {}), VOCAB, LENGTH, 0), LENGTH).to(world.device)
    forward = forward_pass(model.eval(), TrainingConfig(precision="float32", compile=False), world.device)
    fixed_BT = torch.randint(VOCAB, (BATCH, LENGTH), device=world.device)

    @torch.no_grad()
    def passes() -> None:
        for _ in range(DOMAINS * BATCHES):
            forward(fixed_BT, fixed_BT)
        if world.device.type == "cuda":
            torch.cuda.synchronize()

    with tempfile.TemporaryDirectory() as name:
        corpus, store = random_corpus(Path(name) / "corpus"), Path(name) / "losses"

        def write() -> None:
            shutil.rmtree(store, ignore_errors=True)
            write_store(store, corpus, LENGTH, "bench", forward, world, BATCH)

        seconds = interleaved({"write": write, "passes": passes}, arguments.rounds, warm_up=1)
    middle, low, high = ratio(seconds, "write", "passes")
    figure("store_writing_over_forward", middle, "ratio", low=round(low, 3), high=round(high, 3))
    tokens = DOMAINS * BATCHES * BATCH * LENGTH
    figure("store_tokens_per_second", tokens / statistics.median(seconds["write"]), "tokens/s")


if __name__ == "__main__":
    main()
