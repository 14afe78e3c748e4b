"""What to choose on a CPU: threads, compiler, attention, by tokens a second of a plain step at two presets.

    python benchmarks/choices.py [--steps 5]

The demo's shape (0.3m, vocabulary 2,048, 16 x 128 tokens) and the 1M preset (vocabulary 4,096, 48 x 128). Every way is
a trainer of its own, all take their steps in turn. For the compiler also: seconds until its first step is done, and
how long an eager training would have to take before that pays. Threads and compiler are `training.threads` and
`training.compile`; attention is built as scaled dot-product (sdpa), and shown beside the written-out one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

import steps
from figures import figure, interleaved, ratio
from steps import one_step

CORES = torch.get_num_threads()
WRITTEN_OUT = f"{CORES} eager, written-out attention"
SHAPES = {"0.3m": (2048, 16), "1m": (4096, 48)}  # vocabulary, sequences of 128 tokens a batch
Steps = dict[str, Callable[[], None]]


def way(folder: Path, preset: str, *, compiled: bool, attention: str = "sdpa") -> Callable[[], None]:
    """A plain step under these choices."""
    trainer = steps.make_trainer(folder, preset, compiled=compiled)
    if attention != "sdpa":
        trainer.job.model.lm.set_attn_implementation(attention)
    return partial(one_step, trainer, [0])


def ways(folder: Path, preset: str) -> tuple[dict[int, Steps], float]:
    """All ways by number of threads and name; seconds of the compiled one's first step with all threads."""
    made: dict[int, Steps] = {}
    first = 0.0
    for threads in sorted({1, CORES}):
        torch.set_num_threads(threads)  # compiled code is guarded by it
        made[threads] = {
            f"{threads} eager": way(folder, preset, compiled=False),
            f"{threads} compiled": way(folder, preset, compiled=True),
        }
        start = time.perf_counter()
        made[threads][f"{threads} compiled"]()
        first = time.perf_counter() - start
    made[CORES][WRITTEN_OUT] = way(folder, preset, compiled=False, attention="eager")
    return made, first


def in_turns(made: dict[int, Steps], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way's steps; the step after another number of threads is set starts them, and does not count."""
    seconds: dict[str, list[float]] = {name: [] for group in made.values() for name in group}
    for turn in range(repeats + 1):
        for threads, group in made.items():
            torch.set_num_threads(threads)
            group[f"{threads} eager"]()
            for name, taken in interleaved(group, 1, warm_up=0).items():
                seconds[name] += taken if turn else []
    return seconds


def measure(folder: Path, preset: str, repeats: int) -> None:
    steps.VOCAB, steps.BATCH = SHAPES[preset]
    steps.LENGTH = 128
    made, warm_up = ways(folder, preset)
    seconds = in_turns(made, repeats)
    tokens = steps.BATCH * steps.LENGTH
    print(f"{preset}, vocabulary {steps.VOCAB}, {steps.BATCH} x {steps.LENGTH} tokens")
    for name, values in seconds.items():
        print(f"  {name:<34} {tokens / statistics.median(values):>9,.0f} tokens/s")
    shown = partial(compare, seconds, preset)
    shown("one_thread_over_all", "1 eager", f"{CORES} eager")
    shown("compiled_over_eager", f"{CORES} compiled", f"{CORES} eager")
    shown("compiled_over_eager_one_thread", "1 compiled", "1 eager")
    shown("written_out_attention_over_sdpa", WRITTEN_OUT, f"{CORES} eager")
    gained = 1 - ratio(seconds, f"{CORES} compiled", f"{CORES} eager")[0]
    figure(f"choice_{preset}_compiler_warm_up", warm_up, "s")
    if gained > 0:
        figure(f"choice_{preset}_eager_seconds_that_earn_it_back", warm_up / gained, "s")


def compare(seconds: dict[str, list[float]], preset: str, name: str, one: str, other: str) -> None:
    middle, low, high = ratio(seconds, one, other)
    figure(f"choice_{preset}_{name}", middle, "ratio", low=round(low, 3), high=round(high, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    print(f"plain step, float32, threads named first, of {CORES}")
    for preset in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")  # warm-up is that of a new machine
            measure(Path(folder), preset, arguments.steps)


if __name__ == "__main__":
    main()
