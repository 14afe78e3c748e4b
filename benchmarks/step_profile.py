"""Where the time of one training step goes on this device, in per cent: plain, live and stored, at the 1M preset.

    python benchmarks/step_profile.py [--preset 1m] [--steps 5]

PyTorch's profiler, eager, each operator's own time: on a GPU that of its kernels, on a CPU its own. What the profiler
adds to every operator counts too, so that small ones look larger than they are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import steps
import torch
from figures import figure
from torch.profiler import ProfilerActivity, profile

from doremi.distributed import World

PARTS = {  # the first whose words an operator's name holds
    "attention": ("attention", "flash"),
    "optimiser": ("adamw", "_foreach_", "optimizer"),
    "loss": ("softmax", "nll_loss", "cross_entropy"),
    "matrix products": ("mm", "linear", "matmul"),
}


def part_of(operator: str) -> str:
    name = operator.lower()
    return next((part for part, words in PARTS.items() if any(word in name for word in words)), "rest")


def profiled(step: Any, repeats: int) -> Any:
    """The profiler after `repeats` steps; two are taken before."""
    for _ in range(2):
        step()
    cuda = steps.WORLD.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities, acc_events=True) as profiler:
        for _ in range(repeats):
            step()
        if cuda:
            torch.cuda.synchronize()
    return profiler


def shares(profiler: Any, device: torch.device) -> dict[str, float]:
    """Each part's share of the time that operators took."""
    spent: Counter[str] = Counter(dict.fromkeys((*PARTS, "rest"), 0.0))
    for event in profiler.key_averages():
        if event.device_type == torch.autograd.DeviceType.CPU:  # on a GPU kernels are listed again by themselves
            own = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
            spent[part_of(event.key)] += own
    return {part: value / sum(spent.values()) for part, value in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="1m")
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps.WORLD = World(0, 1, device)
    print(f"{arguments.preset}, vocabulary {steps.VOCAB}, {steps.BATCH} x {steps.LENGTH} tokens, eager, {device.type}")
    for kind, scored in (("plain", ""), ("live", "live"), ("stored", "stored")):
        with tempfile.TemporaryDirectory() as folder:
            trainer = steps.make_trainer(Path(folder), arguments.preset, scored=scored)
            found = shares(profiled(partial(steps.one_step, trainer, [0]), arguments.steps), device)
        print(f"{kind:<7}" + "  ".join(f"{part} {100 * share:.1f} %" for part, share in found.items()))
        for part, share in found.items():
            figure(f"profile_{kind}_{part.replace(' ', '_')}", share, "share")


if __name__ == "__main__":
    main()
