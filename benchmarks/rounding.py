"""What keeping reference losses in 16 bits does to the domain weights: the same search with and without rounding.

    python benchmarks/rounding.py [CONFIG] [--steps 200]

Both searches use live losses, on the tests' small corpus (3 domains, 8 x 16 tokens a batch, where a rounding weighs
more than in a real one) or as CONFIG says; all else, the reference included, is the same to the bit. Shown: the largest
difference of a domain's weight at any step, of the averaged weights, and how far the weights moved, for scale.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from doremi.config import RunConfig, load
from doremi.distributed import World
from doremi.executors.choose import chosen
from doremi.pipeline.run import search
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from doremi.training import reference_losses
from figures import figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny import Silent, tiny_config, write_corpus


def small(folder: Path) -> RunConfig:
    """The tests' small corpus and model."""
    return tiny_config(folder, write_corpus(folder / "text", documents=300))


def weights(config: RunConfig, runs: Path, steps: int) -> np.ndarray:
    """alpha of each step of one search, `[steps, K]`."""
    values = config.model_dump()
    values |= {"runs": str(runs), "reference": {**values["reference"], "losses": "live"}}
    values["training"] |= {"steps": steps, "evaluate_every": steps, "checkpoint_every": steps}
    values["proxy"] |= {"seeds": 1}
    config = RunConfig.model_validate(values)
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
        search(space, chosen)
    return np.asarray(RunDirectory(config.root).proxy(0).trace()["weights"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, help="a run's configuration; the tests' small one if not given")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load(arguments.config) if arguments.config else small(folder)
        rounded = weights(config, folder / "rounded", arguments.steps)
        reference_losses.rounded = lambda loss_BT: loss_BT.float()
        exact = weights(config, folder / "exact", arguments.steps)
    figure("rounding_largest_difference_of_alpha", float(np.abs(rounded - exact).max()), "weight", digits=8)
    averages = np.abs(rounded.mean(axis=0) - exact.mean(axis=0)).max()
    figure("rounding_difference_of_averaged_weights", float(averages), "weight", digits=8)
    figure("rounding_largest_move_of_alpha", float(np.abs(exact - 1 / exact.shape[1]).max()), "weight")


if __name__ == "__main__":
    main()
