"""Where the time of one training step goes on this device, in per cent: plain, live and stored, at the 1M preset.

    python benchmarks/step_profile.py [--preset 1m] [--steps 5]

PyTorch's profiler, eager, each operator's own time: on a GPU that of its kernels, on a CPU its own. What the profiler
adds to every operator counts too, so that small ones look larger than they are. Also: the rate of a step's matrix
products over that of one large product.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import steps
from doremi.distributed import World
from figures import figure

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
    with profile(activities=activities, acc_events=True, with_flops=True) as profiler:
        for _ in range(repeats):
            step()
        if cuda:
            torch.cuda.synchronize()
    return profiler


def own_times(profiler: Any, device: torch.device) -> list[tuple[str, float, int]]:
    """Part, own microseconds and operations of each operator."""
    return [
        (part_of(e.key), e.self_device_time_total if device.type == "cuda" else e.self_cpu_time_total, e.flops)
        for e in profiler.key_averages()
        if e.device_type.name == "CPU"  # on a GPU kernels are listed again by themselves
    ]


def shares(times: list[tuple[str, float, int]]) -> dict[str, float]:
    """Each part's share of the time that operators took."""
    spent = dict.fromkeys((*PARTS, "rest"), 0.0)
    for part, own, _ in times:
        spent[part] += own
    return {part: value / sum(spent.values()) for part, value in spent.items()}


def product_rate(times: list[tuple[str, float, int]]) -> float:
    """Operations a second of a step's matrix products."""
    products = [(own, operations) for part, own, operations in times if part == "matrix products"]
    return sum(operations for _, operations in products) / sum(own for own, _ in products) * 1e6


def large_product_rate(device: torch.device, size: int = 2048) -> float:
    """Operations a second of one large float32 product."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        torch.matmul(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[2:])


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
            times = own_times(profiled(partial(steps.one_step, trainer, [0]), arguments.steps), device)
        found = shares(times)
        print(f"{kind:<7}" + "  ".join(f"{part} {100 * share:.1f} %" for part, share in found.items()))
        for part, share in found.items():
            figure(f"profile_{kind}_{part.replace(' ', '_')}", share, "share")
        figure(f"profile_{kind}_product_rate_over_large", product_rate(times) / large_product_rate(device), "ratio")


if __name__ == "__main__":
    main()
