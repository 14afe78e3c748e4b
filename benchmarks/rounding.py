"""What keeping reference losses in 16 bits does to the domain weights: the same search with and without rounding.

    python benchmarks/rounding.py [--steps 200]

Both searches use live losses on the tests' small corpus (3 domains, 8 x 16 tokens a batch, where a rounding weighs
more than in a real one); all else, the reference included, is the same to the bit. Shown: the largest difference of a
domain's weight at any step, of the averaged weights, and how far the weights moved, for scale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from figures import figure

from doremi import reference_losses, stages
from doremi.distributed import World
from doremi.rounds import search
from doremi.runs import RunDirectory
from doremi.workspace import open_workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny import Silent, tiny_config, write_corpus


def weights(folder: Path, text: Path, steps: int) -> np.ndarray:
    """alpha of each step of one search, `[steps, K]`."""
    training = {"steps": steps, "evaluate_every": steps, "checkpoint_every": steps}
    config = tiny_config(folder, text, training=training, reference={"losses": "live"})
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
        search(space, stages.prepare(space))
    return np.asarray(RunDirectory(config.root).proxy(0).trace()["weights"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as folder:
        text = write_corpus(Path(folder) / "text", documents=300)
        rounded = weights(Path(folder) / "rounded", text, steps)
        reference_losses.rounded = lambda loss_BT: loss_BT.float()
        exact = weights(Path(folder) / "exact", text, steps)
    figure("rounding_largest_difference_of_alpha", float(np.abs(rounded - exact).max()), "weight", digits=8)
    averages = np.abs(rounded.mean(axis=0) - exact.mean(axis=0)).max()
    figure("rounding_difference_of_averaged_weights", float(averages), "weight", digits=8)
    figure("rounding_largest_move_of_alpha", float(np.abs(exact - 1 / exact.shape[1]).max()), "weight")


if __name__ == "__main__":
    main()
