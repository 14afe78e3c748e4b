"""Trainings that warm up side by side and are measured one after another, or several together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from card.commands import Command, Place, tell_failure
from card.notes import Notes

CHILD = Path(__file__).with_name("child.py")
LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Case:
    """One process of a kind of `child.py`."""

    name: str
    options: tuple[str, ...]
    kind: str = "training"
    before: bool = False
    """Whether the package of before is measured."""
    profiled: int = 0
    """Steps that the profiler watches."""
    copies: int = 1
    """How many processes are measured together."""

    def words(self) -> list[str]:
        return [str(CHILD), self.kind, *self.options]


@dataclass
class Child:
    """A process of a case, and what it has answered."""

    case: Case
    command: Command
    state: str = "begun"
    answers: list[dict[str, float]] = field(default_factory=list)
    profiles: int = 0
    """How many of them are whole with what a profiler saw."""
    about: dict[str, float] = field(default_factory=dict)
    """What it said when it was loaded and ready."""


class Cases:
    """A context in which cases are begun, warmed up and measured; whoever leaves it has ended all processes."""

    def __init__(self, notes: Notes, place: Place, deadline: float) -> None:
        self.notes, self.place, self.deadline = notes, place, deadline
        self.children: list[Child] = []

    def __enter__(self) -> Cases:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.command.end()

    def begin(self, cases: Iterable[Case]) -> list[list[Child]]:
        """The processes of each case; they load what they need and wait."""
        return [[self._child(case, number) for number in range(case.copies)] for case in cases]

    def _child(self, case: Case, number: int) -> Child:
        name = case.name if case.copies == 1 else f"{case.name} ({number + 1})"
        environment = self.place.environment(before=case.before)
        command = Command(name, case.words(), environment, lambda line: self._hear(child, line), asked=True)
        child = Child(case, command)
        self.children.append(child)
        return child

    def _hear(self, child: Child, line: str) -> None:
        if not line.startswith('{"answer"'):
            if child.state == "ready":  # what it prints of a profile; what it says before is kept for a failure
                self.notes.say(f"{child.command.name} | {line}")
            return
        try:
            said = json.loads(line)
        except ValueError:  # another thread of it has written into the line
            self.notes.say(f"{child.command.name} | not understood: {line}")
            return
        answer = said.pop("answer")
        if answer == "measured":
            child.answers.append(said)
        elif answer == "profiled":
            child.answers[-1] |= said
            child.profiles += 1
        else:
            child.about |= said
            child.state = answer

    # -- what they are told -------------------------------------------------------------------------------------------

    def warm(self, children: Sequence[Child]) -> None:
        """Let them compile and make their first steps, as soon as each is loaded."""
        for child in children:
            child.command.order(warm=True)

    def ready(self, children: Sequence[Child], until: float) -> list[Child]:
        """Those that are warm when all are, or when the time is over."""
        while time.monotonic() < min(until, self.deadline):
            waiting = [child for child in children if child.state != "ready" and child.command.process.poll() is None]
            if not waiting:
                break
            time.sleep(LOOK_EVERY)
        return [child for child in children if child.state == "ready"]

    def measure(self, group: Sequence[Child], seconds: float, patience: float) -> list[dict[str, float]]:
        """Answers of processes that are measured at the same time; those that fail or are late have none."""
        wanted = {id(child): (len(child.answers) + 1, child.profiles + bool(child.case.profiled)) for child in group}
        for child in group:
            child.command.order(measure=seconds, profile=child.case.profiled)
        until = min(self.deadline, time.monotonic() + patience)
        while time.monotonic() < until:
            left = [child for child in group if (len(child.answers), child.profiles) < wanted[id(child)]]
            if all(child.command.process.poll() is not None for child in left):
                break
            time.sleep(LOOK_EVERY)
        for child in group:
            if (len(child.answers), child.profiles) < wanted[id(child)]:
                self.give_up(child, f"not all was answered within {patience:.0f} s")
        return [child.answers[-1] for child in group if len(child.answers) == wanted[id(child)][0]]

    def give_up(self, child: Child, why: str) -> None:
        code = child.command.process.poll()
        child.command.end()
        tell_failure(self.notes, child.command, why if code is None else f"exit code {code}")

    def done(self, group: Sequence[Child]) -> None:
        """End processes, so that their memory is free; what a profile still prints is heard first."""
        for child in group:
            child.command.order()
            if child.command.wait(2.0) is None:
                child.command.end()
