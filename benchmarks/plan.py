"""Whether `doremi plan` is right: plans a run, does it, and prints predicted against measured, stage by stage.

python benchmarks/plan.py demo/demo.yaml [--set KEY=VALUE ...]

Time is the run's own (timings.jsonl), memory the process's peak while a stage ran (Linux: /proc), disk the bytes of
the files that hold numbers when all is done. The run must not have been begun.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from doremi.config import load
from doremi.errors import DoremiError
from doremi.pipeline.workspace import versions
from doremi.plan import plan
from doremi.plan.stages import name_of
from doremi.plan.table import duration, size, text
from doremi.rundir.layout import RunDirectory

NUMBERS = (".bin", ".ends", ".documents", ".safetensors", ".f32", ".f64", ".f16")
TICK = 0.05  # seconds between two looks at a running process


def stage_of(root: Path, job: str) -> str:
    """A plan's name for a job of the run: the size with a main model, no rounds, no seeds."""
    try:
        nodes = RunDirectory(root).nodes().nodes
    except DoremiError:  # nothing is planned yet
        return job
    return next((name_of(node.role, node.size) for node in nodes if node.id == job), job)


def watched(command: list[str], root: Path) -> tuple[float, dict[str, int]]:
    """Run a command; its seconds, and the peak memory in bytes of its process while each stage ran."""
    start, most = time.monotonic(), defaultdict(int)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            most[running(root)] = max(most[running(root)], peak(process.pid))
            time.sleep(TICK)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.monotonic() - start, most


def running(root: Path) -> str:
    try:
        return stage_of(root, json.loads((root / "status.json").read_text())["stage"])
    except (OSError, ValueError):
        return "start"


def peak(process: int) -> int:
    """Bytes of the largest resident set since the last look, which this look ends."""
    folder = Path("/proc") / str(process)
    try:
        lines = (folder / "status").read_text().splitlines()
        (folder / "clear_refs").write_text("5")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def seconds_by_stage(root: Path) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for line in (root / "timings.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[stage_of(root, record["stage"])] += record["seconds"]
    return found


def row(name: str, seconds: tuple[float | None, float], memory: tuple[int | None, int]) -> str:
    """Predicted and measured time and memory of a stage, and their ratios."""
    cells = [duration(seconds[0]), duration(seconds[1]), ratio(*seconds), size(memory[0]), size(memory[1])]
    return "| " + " | ".join([name, *cells, ratio(*memory)]) + " |"


def ratio(predicted: float | None, measured: float) -> str:
    return f"{predicted / measured:.2f}" if predicted is not None and measured else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    config = load(args.config, args.set)
    made = plan.make(config, None, lambda message: print(message, file=sys.stderr, flush=True))
    said = text(made)  # before the run, after which it would know the mixture
    words = [word for setting in args.set for word in ("--set", setting)]
    whole, memory = watched([sys.executable, "-m", "doremi", "run", str(args.config), *words], config.root)
    found = seconds_by_stage(config.root)
    processor = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ": ?")
    print(f"`python benchmarks/plan.py {args.config} {' '.join(words)}`".replace(" `", "`"))
    print(f"{processor.partition(': ')[2]}, {os.cpu_count()} cores, {platform.system()}; {json.dumps(versions())}\n")
    print(said + "\n")
    print("| stage | time, predicted | measured | ratio | memory, predicted | measured | ratio |")
    print("|---|---|---|---|---|---|---|")
    if made.preparation is not None:
        prepared = made.preparation
        print(row("prepare", (prepared["seconds"], found["prepare"]), (prepared["memory"], memory["prepare"])))
    for stage in made.stages:
        times, peaks = (made.seconds(stage), found[stage.name]), (made.memory(stage), memory[stage.name])
        print(row(stage.name, times, peaks))
    trained = sum(found[name] for name in ("prepare", *(stage.name for stage in made.stages)))
    planned = made.total_seconds()
    without = None if planned is None or made.loading is None else planned - made.loading
    print(row("all stages", (without, trained), (made.total_memory(), max(memory.values()))))
    print(row("all, with start and verdict", (planned, whole), (made.total_memory(), max(memory.values()))))
    there = [p for p in config.root.rglob("*") if p.is_file() and not p.is_symlink()]
    files = sum(p.stat().st_size for p in there if p.suffix in NUMBERS)
    text_bytes = sum(p.stat().st_size for p in there) - files
    exact = plan.make(config, None, lambda message: None).disk if made.estimated else made.disk
    print(f"\ndisk: planned {made.disk:,} bytes{' (estimate)' if made.estimated else ''}; once the corpus is prepared ")
    print(f"{exact:,}; found {files:,} (and {text_bytes:,} of text)")


if __name__ == "__main__":
    main()
