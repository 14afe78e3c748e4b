"""What it brings to keep freed memory (training/memory.py): CPU seconds of eager steps with it over those without.

    python benchmarks/freed_memory.py [--steps 4] [--rounds 5]

The setting holds for a process and cannot be taken back, so every measurement is a process of its own, in turns. CPU
seconds, system time included, since clearing pages is the system's work.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import steps
from doremi.training import loop as train
from figures import figure
from steps import one_step


def measure(scored: str, number: int) -> float:
    """CPU seconds of one step in this process."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = steps.make_trainer(Path(folder), "1m", scored=scored)
        counter = [0]
        for _ in range(2):
            one_step(trainer, counter)
        start = time.process_time()
        for _ in range(number):
            one_step(trainer, counter)
        return (time.process_time() - start) / number


def elsewhere(scored: str, kept: bool, number: int) -> float:
    words = [sys.executable, __file__, "--steps", str(number), "--one", scored or "plain", "kept" if kept else "freed"]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        scored, memory = arguments.one
        if memory == "freed":
            train.keep_freed_memory = lambda: False
        print(measure(scored if scored == "live" else "", arguments.steps))
        return
    for scored in ("", "live"):
        taken = [[elsewhere(scored, kept, arguments.steps) for kept in (True, False)] for _ in range(arguments.rounds)]
        ratios = [kept / freed for kept, freed in taken]
        name = f"freed_memory_kept_over_returned_{scored or 'plain'}"
        low, high = round(min(ratios), 3), round(max(ratios), 3)
        figure(name, statistics.median(ratios), "ratio", low=low, high=high)


if __name__ == "__main__":
    main()
