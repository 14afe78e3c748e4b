"""Kill runs that train two models at once, workers and drivers, and compare with a run left alone.

    python tests/kill_workers.py [--kills 40] [--seed 0]

`doremi run` with `workers: 2` is started. Some of its workers are killed with SIGKILL at random moments, and then, in
three runs of four, the command itself. Its workers must then end by themselves. The same
command is given again, and when it ends, every file must have the same bytes as those of a run with one training at a
time (all but wall-clock times, the report that shows them, the configuration and the locks).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kill import VOLATILE, folder
from tiny import write_tiny

PATIENCE = 120  # seconds after which a command, or a worker without one, counts as hanging
SPREAD = 0.4  # seconds after a worker has been seen within which it is killed: about as long as it lives
WORKERS_A_RUN = 3
TWICE = 2  # exit code where a job was killed twice before it had saved anything new
OTHER_BYTES = {*VOLATILE, "config.yaml"}


def children(process: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def workers(command: int) -> list[int]:
    """Processes that were forked from a server of the command."""
    return [worker for server in children(command) for worker in children(server)]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Run:
    """One run directory, driven again and again."""

    def __init__(self, path: Path) -> None:
        self.root = path / "runs" / "tiny"
        training = {"steps": 60, "log_every": 3, "checkpoint_every": 5, "evaluate_every": 20}
        candidates = {"mixtures": ["doremi", "natural", "uniform"], "seeds": 2}
        self.config = write_tiny(
            path / "tiny.yaml", path / "text", path / "runs", training=training, candidates=candidates
        )

    def start(self, at_once: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "doremi", "run", str(self.config), "--set", f"workers={at_once}"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, at_once: int) -> bool:
        process = self.start(at_once)
        _, errors = process.communicate(timeout=PATIENCE)
        if process.returncode:
            print(errors.decode()[-2000:])
        return process.returncode == 0

    def contents(self) -> dict[str, bytes]:
        runs = self.root.parent
        paths = [p for p in runs.rglob("*") if p.is_file() and OTHER_BYTES.isdisjoint(p.parts)]
        return {str(p.relative_to(runs)): p.read_bytes() for p in paths}

    def disturb(self, rng: random.Random, kill_command: bool) -> Iterator[str]:
        """Start it and kill; says what was killed."""
        command, seen = self.start(2), set[int]()
        for _ in range(WORKERS_A_RUN):
            if (worker := self._next_worker(command, seen)) is None:
                break
            time.sleep(rng.uniform(0, SPREAD))
            if is_alive(worker):
                os.kill(worker, signal.SIGKILL)
                yield "worker"
        if kill_command and self._next_worker(command, seen) is not None:
            time.sleep(rng.uniform(0, SPREAD))
            left = workers(command.pid)
            command.kill()
            command.wait()
            yield "command"
            deadline = time.monotonic() + PATIENCE
            while any(map(is_alive, left)) and time.monotonic() < deadline:
                time.sleep(0.05)
            if any(map(is_alive, left)):
                yield "stayed behind"
            return
        command.communicate(timeout=PATIENCE)
        if command.returncode not in (0, TWICE):
            yield "failed"

    def _next_worker(self, command: subprocess.Popen[bytes], seen: set[int]) -> int | None:
        """A worker that has not been seen before; None when the command ends."""
        while command.poll() is None:
            for worker in workers(command.pid):
                if worker not in seen:
                    seen.add(worker)
                    return worker
            time.sleep(0.01)
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="at least so many (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    arguments = parser.parse_args()
    rng, counted, good = random.Random(arguments.seed), Counter[str](), 0
    with folder() as path:
        run = Run(path)
        if not run.finish(1):
            sys.exit("the undisturbed run failed")
        straight = run.contents()
        number = 0
        while counted["worker"] + counted["command"] < arguments.kills:
            shutil.rmtree(run.root.parent)
            number += 1
            what = Counter(run.disturb(rng, kill_command=number % 4 != 0))
            well = run.finish(2) and run.contents() == straight and not what["failed"] and not what["stayed behind"]
            kills = what["worker"] + what["command"]
            counted += Counter({"worker": what["worker"], "command": what["command"]})
            good += kills * well
            print(f"  run killed {kills} times: {'the same bytes' if well else f'DIFFERENT {dict(what)}'}", flush=True)
    print(f"\n{'what was killed':<20} kills")
    for kind in ("worker", "command"):
        print(f"{kind:<20} {counted[kind]:>5}")
    print(json.dumps({"figure": "parallel_kills_bit_identical", "value": good, "of": sum(counted.values())}))


if __name__ == "__main__":
    main()
