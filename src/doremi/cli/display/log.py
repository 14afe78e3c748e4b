"""Progress where nobody watches: lines with the time of day, in a file that may grow for days.

A line that is told on its own (a message, an alarm, a job that ends) is never dropped. It waits while two lines were
written in the last second, and what still waits at the end is written then. Progress of a job replaces what is still
waiting of the same job. Every half minute there is a line for each job at work, so there is at least one a minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

from doremi.cli.display.board import Board
from doremi.events.event import Event, Failed, Finished, Started, Stopped, Whole

LINES_A_SECOND = 2
EVERY_SECONDS = 30.0  # between two reports of what is at work

Clock = Callable[[], float]
Write = Callable[[str], None]


class LogLines:
    """Writes lines; `clock` gives seconds since 1970. `tick` is to be called about twice a second."""

    name = "the display"

    def __init__(self, write: Write, clock: Clock) -> None:
        self._write, self._clock = write, clock
        self.board = Board()
        self._waiting: dict[str, str] = {}
        """Lines by what they replace, in order; a line that replaces nothing has a name of its own."""
        self._written: deque[float] = deque(maxlen=LINES_A_SECOND)
        self._number, self._reported, self._trainings_done = 0, clock(), -1

    def hear(self, event: Event) -> None:
        now = self._clock()
        line = self.board.sentence(event)
        self.board.hear(event, now)
        if isinstance(event, Whole):
            self._whole(event, now)
        elif line is not None:
            self._line(event, line, now)
        self.tick()

    def tick(self) -> None:
        """Report what is at work if it is time, and write what may be written now."""
        now = self._clock()
        if now - self._reported >= EVERY_SECONDS:
            self._report(now)
        while self._waiting and self._may_write(now):
            self._write_first(now)

    def close(self) -> None:
        while self._waiting:
            self._write_first(self._clock())

    def _line(self, event: Event, line: str, now: float) -> None:
        if isinstance(event, (Finished, Stopped, Failed)):
            self._waiting.pop(event.job, None)  # how it went is old news
        if isinstance(event, Started):
            self._put(event.job, line, now)
        else:
            self._number += 1
            self._put(f"line {self._number}", line, now)

    def _whole(self, event: Whole, now: float) -> None:
        """Told when another training is done."""
        if event.trainings_done != self._trainings_done:
            self._trainings_done = event.trainings_done
            self._put("", self.board.whole(now), now)

    def _report(self, now: float) -> None:
        self._reported = now
        self._put("", self.board.whole(now) or ("" if self.board.running else "still at work"), now)
        for running in self.board.running.values():
            self._put(running.job, running.line(now), now)

    def _put(self, key: str, line: str, now: float) -> None:
        if line:
            self._waiting.pop(key, None)
            self._waiting[key] = f"{datetime.fromtimestamp(now):%H:%M:%S} {line}"

    def _may_write(self, now: float) -> bool:
        return len(self._written) < LINES_A_SECOND or not 0 <= now - self._written[0] < 1

    def _write_first(self, now: float) -> None:
        self._written.append(now)
        self._write(self._waiting.pop(next(iter(self._waiting))))
