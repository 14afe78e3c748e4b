"""What came of runs of doremi, as figures: `compare` of step 2, `whole` and `study` of step 4."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.nodes import NodeRecord
from figures import figure

WITHIN = 1e-6  # how far the weights after one step may be apart between a CPU and a card, in float32


def proxy_of(root: Path) -> TrainingFolder:
    run = RunDirectory(root)
    node = next(node for node in run.nodes().nodes if node.role == "proxy")
    folder = run.training(node)
    assert folder is not None
    return folder


def weights_of(root: Path) -> np.ndarray:
    """Domain weights after each step, `[T, K]`."""
    return proxy_of(root).trace()["weights"].astype(np.float64)


def bytes_of(root: Path) -> dict[str, str]:
    """SHA-256 of a proxy's tensors after its last step, of its trace, and of its mixture."""
    folder = proxy_of(root).folder
    files = [*sorted(folder.glob("checkpoint/step-*/*.safetensors")), folder / "trace.f32", folder / "mixture.json"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def compare(arguments: argparse.Namespace) -> None:
    """The card with the CPU, a repeat, and a training that was stopped and went on."""
    root, names = arguments.folder, set(arguments.names)
    on_cpu = weights_of(root / "cpu")
    some = next((name for name in ("one", "two", "loose", "loose-too") if name in names), None)
    if some is not None:
        apart = np.abs(weights_of(root / some) - on_cpu).max(axis=1)
        figure("weights_after_one_step_card_against_cpu", apart[0], "weight", digits=12, limit=WITHIN)
        figure("weights_after_the_last_step_card_against_cpu", apart[-1], "weight", digits=12, steps=len(apart))
    pairs = (("repeat", "one", "two", arguments.how), ("stop_and_resume", "one", "stopped", arguments.how),
             ("repeat", "loose", "loose-too", "neither"))  # fmt: skip
    for what, one, other, how in pairs:
        if not {one, other} <= names:
            print(f"not known: {what} ({one}, {other}), deterministic by {how}")
            continue
        mine, theirs = bytes_of(root / one), bytes_of(root / other)
        differing = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        apart = float(np.abs(weights_of(root / one) - weights_of(root / other)).max())
        figure(f"{what}_has_the_same_bytes", float(not differing), "1 is yes", deterministic_by=how,
               weights_apart=apart, differing=" ".join(differing))  # fmt: skip


# -- the study ---------------------------------------------------------------------------------------------------------


def mains(run: RunDirectory) -> list[tuple[NodeRecord, TrainingFolder]]:
    """Main models that are finished."""
    found = [(node, run.training(node)) for node in run.nodes().nodes if node.role == "main"]
    return [(node, folder) for node, folder in found if folder is not None and folder.finished]


def whole(arguments: argparse.Namespace) -> None:
    """How many seeds, from the first on, have all candidates."""
    run = RunDirectory(arguments.folder)
    done = {(node.mixture, node.seed) for node, _ in mains(run)}
    names = {node.mixture for node in run.nodes().nodes if node.role == "main"}
    seeds = sorted({node.seed for node in run.nodes().nodes if node.role == "main"})
    number = 0
    while number < len(seeds) and all((name, seeds[number]) in done for name in names):
        number += 1
    figure("whole_seeds", number, "seeds", of=len(seeds))


def study(arguments: argparse.Namespace) -> None:
    """Mixtures, and each main model's bits a byte."""
    run = RunDirectory(arguments.folder)
    names = list(run.corpus().domains)
    for path in sorted((run.root / "mixtures").glob("*.json")):
        weights = run.mixture(str(path.relative_to(run.root))).weights
        for domain, weight in weights.items():
            figure("study_weight", weight, "share of tokens", mixture=path.stem, domain=domain)
    for node, folder in mains(run):
        bits, stage = folder.bits_per_byte(), folder.stage()
        more = {"mixture": node.mixture, "size": node.size, "seed": node.seed, "tokens": stage["tokens"]}
        figure("study_mean_bits_per_byte", sum(bits) / len(bits), "bits/byte", **more)
        for domain, value in zip(names, bits, strict=True):
            figure("study_bits_per_byte", value, "bits/byte", domain=domain, **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["compare", "whole", "study"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("how", nargs="?", default="", help="what makes trainings deterministic")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    {"compare": compare, "whole": whole, "study": study}[arguments.what](arguments)


if __name__ == "__main__":
    main()
