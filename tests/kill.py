"""Kill whole runs at random moments, give the same command again, and compare what is left with a run left alone.

    python tests/kill.py [--kills 100] [--seed 0] [--non-atomic | --background]

A run does everything from raw text to the report on a small corpus. It is started, killed with SIGKILL, started again,
killed again ... until it ends; then every file of it must have the same bytes as those of an undisturbed run (all but
wall-clock times, the report that shows them, and the lock). Where a kill falls is drawn at random within a quota for
each kind of moment, and counted by where the victim really was. One kill in five hits one of two processes.
`--non-atomic` replaces saving by one that writes in place: the program must notice, and ends when it has.
`--background` writes checkpoints while the training goes on, as on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Process, get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import doremi.report.plots  # the victims are forked: what is imported here costs them nothing
import doremi.verdict  # noqa: F401
from doremi import distributed
from doremi.config import load
from doremi.executors.choose import chosen
from doremi.pipeline import preparing, trainings
from doremi.pipeline.run import everything
from doremi.pipeline.workspace import open_workspace
from doremi.training import checkpoint, saver
from doremi.training import loop as train
from tiny import Silent, write_corpus, write_tiny

QUOTA = {"preparation": 15, "training": 30, "inside a save": 20, "between stages": 15, "one rank of two": 20}
VOLATILE = {"timings.jsonl", "status.json", "corpus.lock", "locks", "report.html"}
NON_ATOMIC, BACKGROUND = "non-atomic", "background"
PATIENCE = 120  # seconds after which a run, or the survivor of two, counts as hanging
MOMENTS = {"preparation": 0.15, "training": 0.4, "inside a save": 0.02, "between stages": 0.03}
"""Seconds after a phase begins within which a kill is drawn: about as long as it lasts."""
STARTS = {"preparation": 1, "training": 5, "inside a save": 12, "between stages": 8}
"""How often a phase begins in an undisturbed run, about."""


# -- the victim -------------------------------------------------------------------------------------------------------


def victim(config: Path, rank: int, size: int, port: int, phases: Connection, how: str) -> None:
    """One process of a run; tells the driver which phase it is in."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    for module, name, phase in (
        (preparing, "_first_job", "preparation"),
        (train, "_train", "training"),
        (checkpoint, "save", "inside a save"),
        (trainings, "save", "inside a save"),
    ):
        setattr(module, name, announced(getattr(module, name), phase, phases))
    if how == NON_ATOMIC:
        make_saves_non_atomic()
    if how == BACKGROUND:
        saver.saves_in_background = lambda *_: True
        checkpoint.Saving.publish = announced(checkpoint.Saving.publish, "inside a save", phases)
    if size > 1:  # the one that is left ends with an error, as it should; PyTorch writes pages about it
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        world = distributed.start()
        with open_workspace(load(config), world, Silent()) as space:
            everything(space, chosen)
        distributed.stop()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def announced(function: Callable[..., Any], phase: str, phases: Connection) -> Callable[..., Any]:
    """`function`, with its beginning and end told to the driver."""

    def wrapper(*arguments: Any, **options: Any) -> Any:
        phases.send_bytes(f"+{phase}".encode())
        result = function(*arguments, **options)
        phases.send_bytes(f"-{phase}".encode())
        return result

    return wrapper


def make_saves_non_atomic() -> None:
    """What a careless program does: files written in place, read back without a look at them."""

    def save_in_place(tensors: Mapping[str, Any], path: Path) -> None:
        data = save(dict(tensors))
        final = path.parent.with_name(path.parent.name.removeprefix(".").removesuffix(".tmp"))
        final.mkdir(exist_ok=True)
        for target in (final / path.name, path):
            with target.open("wb") as file:
                for start in range(0, len(data), len(data) // 8):
                    file.write(data[start : start + len(data) // 8])
                    file.flush()
                    os.fsync(file.fileno())
                    time.sleep(0.01)  # a larger model takes its time
            (final / "state.json").touch()

    from safetensors.torch import save

    checkpoint.save_file = save_in_place
    checkpoint._damage = lambda _: None


# -- the driver -------------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """When to kill: `delay` seconds after the phase has begun for the `start`-th time, process number `rank`."""

    phase: str
    start: int
    delay: float
    rank: int = 0


@dataclass
class Watcher:
    """Follows one victim's phases."""

    phases: Connection
    stack: list[str] = field(default_factory=list)
    begun: Counter[str] = field(default_factory=Counter)

    def read(self, timeout: float) -> str | None:
        """The phase that has just begun, if one has within `timeout` seconds."""
        if not self.phases.poll(timeout):
            return None
        try:
            message = self.phases.recv_bytes().decode()
        except EOFError:
            time.sleep(timeout)
            return None
        self.take(message)
        self.begun[self.now] += 1
        return self.now

    def take(self, message: str) -> None:
        """A phase has begun or ended."""
        if message[0] == "+":
            self.stack.append(message[1:])
        else:
            self.stack.pop()

    @property
    def now(self) -> str:
        return self.stack[-1] if self.stack else "between stages"

    def at_death(self) -> str:
        """The phase in which the victim was when it died."""
        while self.phases.poll(0):
            try:
                self.take(self.phases.recv_bytes().decode())
            except EOFError:
                break
        return self.now


class Driver:
    def __init__(self, folder: Path, size: int, how: str) -> None:
        self.folder, self.size, self.how = folder, size, how
        self.root = folder / "runs" / "tiny"
        training = {"log_every": 3, "checkpoint_every": 5, "evaluate_every": 10}
        values = {"training": training, "candidates": {"mixtures": ["doremi", "natural"]}}
        self.config = write_tiny(folder / "tiny.yaml", folder / "text", folder / "runs", **values)

    def start(self) -> list[tuple[Process, Watcher]]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        started = []
        for rank in range(self.size):
            ours, theirs = Pipe(duplex=False)
            arguments = (self.config, rank, self.size, port, theirs, self.how)
            process = get_context("fork").Process(target=victim, args=arguments)
            process.start()
            theirs.close()
            started.append((process, Watcher(ours)))
        return started

    def run(self, plan: Plan | None) -> tuple[str | None, bool]:
        """Start the run, kill it as planned; the phase it was killed in (None: it ended first), and if all went well.

        Well is: it ended with success, or was killed and no other process of it stayed behind.
        """
        processes = self.start()
        target, watcher = processes[plan.rank if plan else 0]
        deadline = time.monotonic() + PATIENCE
        while target.is_alive() and time.monotonic() < deadline:
            phase = watcher.read(0.02)
            if plan and phase is not None and phase == plan.phase and watcher.begun[phase] == plan.start:
                time.sleep(plan.delay)
                break
        killed = target.is_alive()
        if killed and target.pid:
            os.kill(target.pid, signal.SIGKILL)
        target.join()
        for process, _ in processes:
            process.join(max(0.1, deadline - time.monotonic()))
        well = all(process.exitcode is not None for process, _ in processes) and time.monotonic() < deadline
        for process, _ in processes:
            process.kill()
        if killed:
            return watcher.at_death(), well
        return None, well and all(process.exitcode == 0 for process, _ in processes)

    def contents(self) -> dict[str, bytes]:
        runs = self.root.parent  # with the corpus
        paths = [p for p in runs.rglob("*") if p.is_file() and VOLATILE.isdisjoint(p.parts)]
        return {str(p.relative_to(runs)): p.read_bytes() for p in paths}


def plans(rng: random.Random, wanted: Mapping[str, int], counted: Counter[str], size: int) -> Iterator[Plan]:
    """Kills in the order in which a run meets them: a kind that is still wanted, a random moment of it."""
    for phase in ("preparation", *rng.sample(["training", "inside a save", "between stages"] * 3, 9)):
        kind = "one rank of two" if size > 1 else phase
        if counted[kind] < wanted[kind]:
            start = 1 if phase == "preparation" else rng.randint(1, max(1, STARTS[phase] // 2))
            yield Plan(phase, start, rng.uniform(0, MOMENTS[phase]), rng.randrange(size))


def kill_runs(
    driver: Driver, rng: random.Random, wanted: dict[str, int], counted: Counter[str], good: list[bool]
) -> None:
    """Runs, each killed several times, until each kind has its quota; appends to `good` for each kill.

    Careless saving is there to be noticed: it needs no more runs once one has gone wrong.
    """
    straight = undisturbed(driver)
    while any(counted[kind] < number for kind, number in wanted.items()) and (all(good) or driver.how != NON_ATOMIC):
        shutil.rmtree(driver.root.parent)
        kills, well = 0, True
        for plan in plans(rng, wanted, counted, driver.size):
            phase, fine = driver.run(plan)
            well &= fine
            if not fine:
                print(f"    a process failed or stayed behind after {plan}", flush=True)
            if phase is None:
                break
            kills += 1
            counted["one rank of two" if driver.size > 1 else phase] += 1
        if kills:
            finished = driver.run(None)[1]
            if not finished:
                print("    the last run failed", flush=True)
            well &= finished and driver.contents() == straight
            good.extend([well] * kills)
            print(f"  run killed {kills} times: {'the same bytes' if well else 'DIFFERENT'}", flush=True)
            if not well:
                report_difference(driver, straight)


def undisturbed(driver: Driver) -> dict[str, bytes]:
    _, well = driver.run(None)
    if not well:
        sys.exit("the undisturbed run failed")
    return driver.contents()


def report_difference(driver: Driver, straight: dict[str, bytes]) -> None:
    found = driver.contents()
    names = [name for name in sorted({*found, *straight}) if found.get(name) != straight.get(name)]
    print(f"    {len(names)} files differ{', for example ' + ', '.join(names[:3]) if names else ''}")


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        write_corpus(Path(name) / "text")
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many, in the proportions above (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    for name, text in (
        (NON_ATOMIC, "save in place, to see that it is noticed"),
        (BACKGROUND, "save in the background"),
    ):
        parser.add_argument(f"--{name}", dest="how", action="store_const", const=name, default="", help=text)
    arguments = parser.parse_args()
    rng, counted, good = random.Random(arguments.seed), Counter[str](), list[bool]()
    wanted = {kind: -(-number * arguments.kills // 100) for kind, number in QUOTA.items()}
    for size in (1, 2):
        kinds = {kind: n for kind, n in wanted.items() if (kind == "one rank of two") == (size == 2)}
        with folder() as path:
            kill_runs(Driver(path, size, arguments.how), rng, kinds, counted, good)
    print(f"\n{'where the kill fell':<20} kills")
    for kind in QUOTA:
        print(f"{kind:<20} {counted[kind]:>5}")
    print(json.dumps({"figure": "kills_bit_identical", "value": sum(good), "of": len(good)}))


if __name__ == "__main__":
    main()
