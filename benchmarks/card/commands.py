"""Commands in processes of their own, each with a time limit: what they print is noted, and a failure ends nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from card.notes import Notes

LAST_LINES = 12
COMPILED = "compiled"  # folder of what the compiler has made, shared by all programs
GRACE_SECONDS = 10.0
BEGUN: list[Command] = []
"""All programs so far: whoever is cut ends those that are at work."""


@dataclass
class Place:
    """Where things are on this machine."""

    tree: Path
    """The repository."""
    data: Path
    """What was packed, unpacked: `corpus`, and `site`, `before` and `compiled` where they were packed."""
    work: Path
    """A folder for what is made on the way."""

    def environment(self, *, before: bool = False, **more: str) -> dict[str, str]:
        """For a Python that finds this package, or that of before, and what was packed."""
        code = self.data / "before" if before and (self.data / "before").exists() else self.tree
        paths = [code / "src", code / "benchmarks", self.data / "site"]
        kept = os.environ.get("PYTHONPATH", "")
        joined = os.pathsep.join([*map(str, paths), *([kept] if kept else [])])
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(self.data / COMPILED), "TORCHINDUCTOR_COMPILE_THREADS": "4"}
        one = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}  # of several cards
        return {**os.environ, **cache, **one, "PYTHONPATH": joined, "PYTHONUNBUFFERED": "1", **more}

    @property
    def corpus(self) -> Path:
        return self.data / "corpus"

    def vocabulary(self) -> int:
        """Tokens that the corpus's tokenizer knows."""
        manifest = json.loads((self.corpus / "manifest.json").read_text(encoding="utf-8"))
        return int(manifest["tokenizer"]["vocab_size"])


@dataclass
class Command:
    """A program at work; what it prints is heard by a thread."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    heard: Callable[[str], None]
    asked: bool = False
    """Whether orders are written to it."""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *self.words], env=dict(self.environment), text=True, start_new_session=True,
            stdin=subprocess.PIPE if self.asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
        )  # fmt: skip
        BEGUN.append(self)  # before it can be heard: whoever hears it may cut us
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                self.last.append(line.rstrip("\n"))
                self.heard(line.rstrip("\n"))

    def order(self, **words: object) -> None:
        """Write it a line; one that has ended hears nothing."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(words) + "\n")
            self.process.stdin.flush()

    def wait(self, seconds: float) -> int | None:
        """Its exit code, None where it goes on after so long."""
        try:
            code = self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return None
        self._thread.join(GRACE_SECONDS)
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        return code

    def end(self, first: int = signal.SIGKILL) -> None:
        """End it and all that it has started, with another signal first where it may put things in order."""
        if first != signal.SIGKILL:
            self.signal(first)
            self.wait(GRACE_SECONDS)
        self.signal(signal.SIGKILL)
        self.wait(GRACE_SECONDS)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def end_all() -> None:
    """End whatever is still at work."""
    for command in BEGUN:
        if command.process.poll() is None:
            command.end()


def tell_failure(notes: Notes, command: Command, why: str) -> None:
    notes.say(f"FAILED {command.name}: {why}. Its last lines:")
    for line in command.last:
        notes.say(f"  | {line}")


def run(notes: Notes, name: str, words: Sequence[str], environment: Mapping[str, str], seconds: float) -> bool:
    """Whether a program ended well within its time; its figures are noted, its other lines said."""
    if seconds <= 0:
        notes.say(f"not run: {name}: no time is left for it")
        return False
    command = Command(name, words, environment, lambda line: hear(notes, name, line))
    code = command.wait(seconds)
    if code is None:
        command.end(signal.SIGTERM)
        tell_failure(notes, command, f"not done after {seconds:.0f} s")
    elif code:
        tell_failure(notes, command, f"exit code {code}")
    return code == 0


def hear(notes: Notes, name: str, line: str) -> None:
    """Note a line of a program: a figure where it is one."""
    if line.startswith('{"figure"'):
        with contextlib.suppress(ValueError):
            notes.figure(json.loads(line))
            return
    notes.say(f"{name} | {line}")


def finished(notes: Notes, commands: Sequence[Command], deadline: float) -> set[str]:
    """Names of the programs that end well until then; the others are ended, and told."""
    well = set()
    for command in commands:
        code = command.wait(deadline - time.monotonic())
        if code is None:
            command.end(signal.SIGTERM)
        if code == 0:
            well.add(command.name)
        else:
            tell_failure(notes, command, "not done in time" if code is None else f"exit code {code}")
    return well
