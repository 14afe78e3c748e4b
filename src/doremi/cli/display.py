"""What a person sees while a run works: a progress bar on a terminal, plain lines elsewhere; and signals to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES_A_STAGE = 5  # where the output is not a terminal


# What ends a process unless it is caught: a person, a scheduler, a terminal that closes, a limit that comes near.
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
AT_ONCE = (signal.SIGINT, signal.SIGTERM)  # the others come twice by themselves, from the kernel and from the shell
ONE_PRESS_SECONDS = 1.0  # torchrun passes on what the terminal has sent to all processes anyway


class Display:
    """Implements `train.Watch`, and stops the work when a signal asks for it.

    The first of `STOP` asks to stop at the next step; SIGINT or SIGTERM, more than a second later, stops at once.
    A signal that is ignored when the work begins (`nohup`, a job in the background) stays ignored; but not under
    `torchrun`, which hears it all the same, passes it on and kills processes that do not end. There the work also stops
    when `torchrun` is gone: signals that it does not pass on end it, and nobody would end its processes.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.signal: int | None = None
        self.name, self.note, self.began, self.first = "", "", 0.0, 0
        self._bar: Progress | None = None
        self._asked = 0.0
        self._torchrun = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    def __enter__(self) -> Display:
        heard = [n for n in STOP if self._torchrun is not None or signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._stop) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal, self._asked = number, time.monotonic()
            with contextlib.suppress(RuntimeError):  # we may be in the middle of writing another line
                self.say("stopping at the next step, saving what is done (once more to stop at once)")
        elif number in AT_ONCE and time.monotonic() - self._asked > ONE_PRESS_SECONDS:
            raise KeyboardInterrupt

    # -- train.Watch -----------------------------------------------------------------------------------------------

    def stop_requested(self) -> bool:
        return self.signal is not None or self._torchrun not in (None, os.getppid())

    def say(self, message: str) -> None:
        self.console.print(message, markup=False)

    def stage(self, name: str) -> None:
        self._close()
        self.name, self.note, self.began, self.first = name, "", 0.0, 0
        if not self.console.is_terminal:
            self.say(f"{name} ...")

    def record(self, record: Mapping[str, Any]) -> None:
        self.note = f"loss {record['loss']:.3f}"
        weights = record["average_weights"]
        if weights is not None:
            self.note += f", largest weight {max(weights):.2f}"

    def step(self, step: int, steps: int, tokens: int) -> None:
        if not self.began:
            self.began, self.first = time.monotonic(), step
        speed = (step - self.first) / max(1e-9, time.monotonic() - self.began) * tokens / step
        parts = [self.note] * bool(self.note) + [f"{speed:,.0f} tokens/s"] * (step > self.first)
        text = ", ".join(parts)
        if self.console.is_terminal:
            self._show(step, steps, text)
        elif step % max(1, steps // LINES_A_STAGE) == 0 or step == steps:
            self.say(f"{self.name}: step {step} of {steps}, {text}")

    def _show(self, step: int, steps: int, text: str) -> None:
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console)
            self._bar.start()
            self._bar.add_task(self.name, total=steps, note="")
        self._bar.update(self._bar.task_ids[0], completed=step, note=text)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
