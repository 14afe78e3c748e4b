"""Whether the demo decides: its run with fresh seeds, several times, and what each proves.

    python studies/demo_sets.py FOLDER [--sets 10]

Each set has three seeds of its own, and a search of its own. Sets that are there are not run again. All of them have
one thread a training, so that they are the same on any number of cores.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from doremi.verdict import Verdict
from doremi.verdict.values import read_verdict

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import demo

FIRST_SEED, SEEDS_APART = 100, 10


def bits(verdict: Verdict, name: str) -> float:
    """Mean over domains."""
    return next(one.mean["uniform"].bits_per_byte for one in verdict.candidates if one.name == name)


def run(folder: Path, number: int) -> Verdict:
    """The verdict of one set."""
    root = folder / "runs" / f"set-{number}"
    if not (root / "verdict.json").exists():
        seed = FIRST_SEED + SEEDS_APART * number
        changes = [f"name=set-{number}", f"seed={seed}", "training.threads=1"]
        words = [word for change in changes for word in ("--set", change)]
        command = [sys.executable, "-m", "doremi", "run", str(folder / "demo" / "demo.yaml"), *words]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return read_verdict(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", type=int, default=10)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if not (folder / "demo" / "demo.yaml").exists():
        demo.configured(folder / "demo", steps=600)
    found: dict[str, list[float]] = {"doremi": [], "uniform": []}
    print("| set | doremi against natural | uniform against natural | proved |\n|---|---|---|---|")
    for number in range(arguments.sets):
        verdict = run(folder, number)
        for name, values in found.items():
            values.append(100 * (bits(verdict, name) / bits(verdict, "natural") - 1))
        proved = [f"better than {' and '.join(one.over)}" for one in verdict.claims if one.held]
        changes = " | ".join(f"{values[-1]:+.2f} %" for values in found.values())
        print(f"| {number} | {changes} | {', '.join(proved) or 'nothing'} |", flush=True)
    for name, values in found.items():
        spread = f", SD {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        print(f"\n{name} against natural, mean of {len(values)} sets: {statistics.mean(values):+.2f} %{spread}")


if __name__ == "__main__":
    main()
