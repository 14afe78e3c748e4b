"""The demo's trainings, several at once as `workers: auto` decides, against one after another on all cores.

    python benchmarks/parallel.py [--rounds 3] [--steps 150]

Prints JSON lines: `parallel_over_sequential_demo` (wall time from the start of the command to the end of its last
training, start-up included; runs alternate), and `parallel_peak_memory_gib` of all processes together. Text and
configuration are those of `make demo`; the corpus is prepared once, before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from figures import figure, ratio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import demo

from doremi.lent import available_cores

GIB = 2**30
SAMPLE_SECONDS = 5.0  # a look takes the kernel up to 0.1 s a process, from the cores that are measured


def settings(way: str) -> list[str]:
    """What is different between the two."""
    cores = available_cores()
    return [] if way == "parallel" else ["--set", "workers=1", "--set", f"training.threads={cores}"]


def descendants(process: int) -> Iterator[int]:
    """A process and all below it."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from descendants(int(child))


def memory(process: int) -> int:
    """Bytes of a process and all below it; what they share counts once."""
    total = 0
    for one in descendants(process):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def run(config: Path, way: str, number: int) -> tuple[float, int]:
    """Seconds until the last training has ended, and the peak of memory in bytes."""
    name = f"{way}-{number}"
    command = [sys.executable, "-m", "doremi", "run", str(config), "--set", f"name={name}", *settings(way)]
    began, peak = time.time(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        sys.exit(f"{' '.join(command)}:\n{process.stderr.read() if process.stderr else ''}")
    ended = max(p.stat().st_mtime for p in (config.parent.parent / "runs" / name).glob("trainings/*/stage.json"))
    return ended - began, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (default 3)")
    parser.add_argument("--steps", type=int, default=150, help="of each training (default 150)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = demo.configured(Path(folder) / "demo", arguments.steps)
        config.write_text(config.read_text() + f"runs: {Path(folder) / 'runs'}\n")
        subprocess.run([sys.executable, "-m", "doremi", "prepare", str(config)], check=True, capture_output=True)
        seconds: dict[str, list[float]] = {"parallel": [], "sequential": []}
        peaks: dict[str, list[int]] = {"parallel": [], "sequential": []}
        for number in range(arguments.rounds):
            for way in seconds:
                took, peak = run(config, way, number)
                seconds[way].append(took)
                peaks[way].append(peak)
    middle, lowest, highest = ratio(seconds, "parallel", "sequential")
    figure("parallel_over_sequential_demo", middle, "ratio", lowest=lowest, highest=highest)
    for way, values in peaks.items():
        figure(f"{way}_peak_memory_gib", max(values) / GIB, "GiB")


if __name__ == "__main__":
    main()
