"""Signals that ask a run to stop: at the next step, or at once."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

# What ends a process unless it is caught: a person, a scheduler, a terminal that closes, a limit that comes near.
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
AT_ONCE = (signal.SIGINT, signal.SIGTERM)  # the others come twice by themselves, from the kernel and from the shell
ONE_PRESS_SECONDS = 1.0  # torchrun passes on what the terminal has sent to all processes anyway


class Signals:
    """Heard from `__enter__` to `__exit__`; `heard` is the first of them.

    The first of `STOP` asks to stop at the next step; SIGINT or SIGTERM, more than a second later, stops at once.
    A signal that is ignored when the work begins (`nohup`, a job in the background) stays ignored; but not under
    `torchrun`, which hears it all the same, passes it on and kills processes that do not end. There the work also stops
    when `torchrun` is gone: signals that it does not pass on end it, and nobody would end its processes.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self._asked = 0.0
        self._torchrun = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None

    def __enter__(self) -> Signals:
        listened = [n for n in STOP if self._torchrun is not None or signal.getsignal(n) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._hear) for number in listened}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, _: FrameType | None) -> None:
        """Prints nothing: it may have come in the middle of another line."""
        if self.heard is None:
            self.heard, self._asked = number, time.monotonic()
        elif number in AT_ONCE and time.monotonic() - self._asked > ONE_PRESS_SECONDS:
            raise KeyboardInterrupt

    def stop_requested(self) -> bool:
        return self.heard is not None or self._torchrun not in (None, os.getppid())
