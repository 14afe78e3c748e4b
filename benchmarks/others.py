"""A training step of this project against the others': same shape, same tokens a step, same machine, one run.

python benchmarks/others.py [--python-for trainer=PYTHON] [--python-for dataflex=PYTHON]
                            [--python-for official=PYTHON --official CHECKOUT]

Every contestant is a process of its own (benchmarks/contestants) that steps when it is its turn; PYTHON is an
interpreter of an environment that holds its packages. Whoever cannot start is listed with the reason. First column:
everyone in float32 without a compiler. Second: the better of that and torch.compile, for each.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from contestants.pace import BATCH, DOMAINS, LENGTH, VOCAB
from figures import figure, interleaved, ratio

FOLDER = Path(__file__).resolve().parent / "contestants"
SETTINGS = ("eager", "compiled")


@dataclass(frozen=True)
class Contestant:
    label: str
    program: str
    options: tuple[str, ...] = ()
    foreign: str = ""
    """The name under which `--python-for` gives its interpreter; empty for this one."""
    is_doremi: bool = False


CONTESTANTS = {
    "bare": Contestant("bare PyTorch loop", "bare.py"),
    "plain": Contestant("ours, plain training", "ours.py"),
    "live": Contestant("ours, DoReMi, live reference", "ours.py", ("--reference", "live"), is_doremi=True),
    "stored": Contestant("ours, DoReMi, stored losses", "ours.py", ("--reference", "stored"), is_doremi=True),
    "trainer": Contestant("Hugging Face Trainer", "plain_trainer.py", (), "trainer"),
    "official": Contestant("official DoReMi trainer", "official.py", (), "official", is_doremi=True),
    "bare_stand_in": Contestant("bare loop, official's stand-in model", "bare.py", ("--stand-in",)),
    "dataflex": Contestant("DataFlex, update every step", "mixer.py", (), "dataflex", is_doremi=True),
    "dataflex_seldom": Contestant(
        "DataFlex, between updates", "mixer.py", ("--every", "100000"), "dataflex", is_doremi=True
    ),
}


class Process:
    """A contestant under one setting: started, warmed up, and stepping on demand."""

    def __init__(self, name: str, setting: str, choice: argparse.Namespace, log: Path) -> None:
        who = CONTESTANTS[name]
        pythons = dict(pair.split("=", 1) for pair in choice.python_for)
        command = [pythons.get(who.foreign, sys.executable), str(FOLDER / who.program), *who.options]
        command += ["--threads", str(choice.threads)] + ["--compile"] * (setting == "compiled")
        command += ["--checkout", str(choice.official.resolve())] if name == "official" else []
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        environment = os.environ | quiet
        if who.foreign in pythons:  # what leads to this project's packages must not lead others there
            environment.pop("PYTHONPATH", None)
        self.log, self.steps = log, choice.steps
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True
            )
        self.versions = ""

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RuntimeError(self._reason())
        return line.strip()

    def _reason(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line.split(":")[0]] or lines or ["it ended without a word"]
        return " ".join(errors[-1].split())[:200]

    def step(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.steps}\n")
        self.process.stdin.flush()
        self.answer()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def start(choice: argparse.Namespace, folder: Path) -> tuple[dict[str, Process], dict[str, str]]:
    """The processes that run, as `name setting`, each after two blocks of steps; why the others do not."""
    running: dict[str, Process] = {}
    absent: dict[str, str] = {}

    def start_one(key: str) -> None:
        name, setting = key.split()
        try:
            if name == "official" and choice.official is None:
                raise RuntimeError("--official does not say where its repository is checked out")
            process = running[key] = Process(name, setting, choice, folder / f"{key}.log")
            process.versions = process.answer()
            process.step()
            process.step()
            say(f"{key}: {process.versions}")
        except (RuntimeError, OSError) as error:
            absent[key] = str(error)
            say(f"{key}: not run: {error}")

    keys = [f"{name} {setting}" for name in choice.only for setting in choice.settings]
    with ThreadPoolExecutor(2) as pool:  # importing and compiling keep one core busy each
        list(pool.map(start_one, keys))
    for key in absent.keys() & running.keys():
        running.pop(key).close()
    return {key: running[key] for key in keys if key in running}, absent


def best(seconds: dict[str, list[float]], name: str, columns: tuple[str, ...]) -> str | None:
    """The key of the fastest of `columns` that `name` ran under, compared turn by turn as a slow spell hits both."""
    keys = [key for key in (f"{name} {setting}" for setting in columns) if key in seconds]
    return min(keys, key=lambda key: ratio(seconds, key, keys[0])[0]) if keys else None


def cell(seconds: dict[str, list[float]], key: str | None, floor: str | None, tokens: int) -> str:
    if key is None:
        return f"{'not run':<38}"
    rates = sorted(tokens / s for s in seconds[key])
    text = f"{statistics.median(rates):>7,.0f} ({rates[0]:,.0f}-{rates[-1]:,.0f})"
    times = f"{ratio(seconds, key, floor)[0]:.2f}x" if floor else ""
    return f"{text:<24}{times:>6} {key.split()[1]:<8}"


def table(seconds: dict[str, list[float]], choice: argparse.Namespace, tokens: int) -> None:
    """Two columns: tokens a second as median (lowest-highest), time over the bare loop's, the setting."""
    print(f"{'':<38}{'same setting':<40}best of each")
    for name in choice.only:
        cells = [
            cell(seconds, best(seconds, name, columns), best(seconds, "bare", columns), tokens)
            for columns in (SETTINGS[:1], SETTINGS)
        ]
        print(f"{CONTESTANTS[name].label:<38}{cells[0]}  {cells[1]}".rstrip())


def figures(seconds: dict[str, list[float]], choice: argparse.Namespace, tokens: int) -> None:
    """Everyone's rate and time over the floor, every other DoReMi step's time over ours; what the compiler does."""
    for column, columns in (("same", SETTINGS[:1]), ("best", SETTINGS)):
        chosen = {name: key for name in choice.only if (key := best(seconds, name, columns))}
        for name, key in chosen.items():
            figure(f"{column}_{name}", tokens / statistics.median(seconds[key]), "tokens/s")
        pairs = [(name, "bare") for name in chosen if name != "bare"]
        pairs += [(n, own) for own in ("live", "stored") for n in chosen if CONTESTANTS[n].is_doremi and n != own]
        pairs.append(("official", "bare_stand_in"))
        for one, other in pairs:
            if one in chosen and other in chosen:
                middle, low, high = ratio(seconds, chosen[one], chosen[other])
                figure(f"{column}_{one}_over_{other}", middle, "ratio", low=round(low, 3), high=round(high, 3))
    for name in choice.only:
        if f"{name} eager" in seconds and f"{name} compiled" in seconds:
            middle, low, high = ratio(seconds, f"{name} compiled", f"{name} eager")
            figure(f"compiled_over_eager_{name}", middle, "ratio", low=round(low, 3), high=round(high, 3))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python-for", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--official", type=Path, metavar="CHECKOUT")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CONTESTANTS), metavar="NAME,...")
    parser.add_argument("--eager", action="store_true", help="the first column only")
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--threads", type=int, default=2)
    choice = parser.parse_args()
    choice.settings = SETTINGS[:1] if choice.eager else SETTINGS
    if unknown := set(choice.only) - set(CONTESTANTS):
        parser.error(f"there is no contestant {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}")
    return choice


def main() -> None:
    choice = parse()
    with tempfile.TemporaryDirectory() as folder:
        running, absent = start(choice, Path(folder))
        say("everyone is warm; measuring")
        try:
            ways: dict[str, Callable[[], object]] = {key: process.step for key, process in running.items()}
            seconds = interleaved(ways, choice.rounds, warm_up=0)
        finally:
            for process in running.values():
                process.close()
    tokens = BATCH * LENGTH * choice.steps
    print(
        f"Llama 1m, vocabulary {VOCAB}, {BATCH} x {LENGTH} tokens, {DOMAINS} domains, float32, "
        f"{choice.threads} threads, {choice.rounds} turns of {choice.steps} steps, {platform.machine()}"
    )
    table(seconds, choice, tokens)
    for key, reason in sorted(absent.items()):
        print(f"not run: {key}: {reason}")
    figures(seconds, choice, tokens)


if __name__ == "__main__":
    main()
