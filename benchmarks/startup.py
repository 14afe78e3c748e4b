"""Seconds that `doremi --help` takes, as a whole process: the median of several.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from figures import figure


def seconds(command: list[str], repeats: int = 9) -> list[float]:
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def main() -> None:
    taken = seconds([sys.executable, "-m", "doremi", "--help"])
    figure("help_seconds", statistics.median(taken), "s", low=round(min(taken), 3), high=round(max(taken), 3))
    bare = seconds([sys.executable, "-c", "pass"])
    figure("python_start_seconds", statistics.median(bare), "s")


if __name__ == "__main__":
    main()
