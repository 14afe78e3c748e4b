"""What a person sees while a run works: live lines on a terminal, timestamped lines elsewhere; and signals to stop."""

from __future__ import annotations

import threading
import time

from rich.console import Console

from doremi.cli.display.log import LogLines
from doremi.cli.display.screen import Screen
from doremi.cli.signals import Signals
from doremi.events.event import Event, Said
from doremi.events.stream import Stream, Watch

TICK_SECONDS = 0.5


class Display(Watch):
    """Passes a run's events to the screen or the log, and stops the work when a signal asks for it.

    A thread of its own keeps the display going while a single step, or compiling, takes minutes.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.signals = Signals()
        console = Console(stderr=True, highlight=False)
        if console.is_terminal:
            self._shown = Screen(console, time.monotonic)
        else:
            self._shown = LogLines(lambda line: console.print(line, markup=False, soft_wrap=True), time.time)
        self._stream = Stream([] if quiet else [self._shown])
        self._lock = threading.RLock()
        self._told = quiet
        self._ended = threading.Event()
        self._ticking = threading.Thread(target=self._keep_ticking, name="display", daemon=True)

    def __enter__(self) -> Display:
        self.signals.__enter__()
        if self._stream.listeners:
            self._ticking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._ticking.is_alive():
            self._ticking.join()
        with self._lock:
            self._tell_of_signal()
            self._shown.close()
        self.signals.__exit__()

    @property
    def signal(self) -> int | None:
        """The first signal that asked to stop."""
        return self.signals.heard

    @property
    def stage(self) -> str:
        """The job that began last."""
        return self._shown.board.stage

    def emit(self, event: Event) -> None:
        with self._lock:
            self._stream.emit(event)

    def stop_requested(self) -> bool:
        self._tell_of_signal()
        return self.signals.stop_requested()

    def _tell_of_signal(self) -> None:
        with self._lock:
            if self.signal is not None and not self._told:
                self._told = True
                self.emit(Said("stopping at the next step, saving what is done (once more to stop at once)"))

    def _keep_ticking(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            with self._lock:
                self._tell_of_signal()
                if self._stream.listeners:
                    self._shown.tick()
