"""Progress on a terminal: a line for each job at work, one for the whole run below, and messages that scroll above."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from doremi.cli.display.board import Board, Running
from doremi.events.event import Event, Started
from doremi.events.words import duration, shortened

EVERY_SECONDS = 0.2  # between two drawings
NARROWEST_NAME = 16
WIDE = 110  # columns from which steps are written out
BAR = (6, 24)  # columns of a bar, at least and at most
GAP = "  "

Clock = Callable[[], float]


class Screen:
    """Draws lines on a console; `clock` gives seconds. `tick` is to be called about twice a second."""

    name = "the display"

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console, self._clock = console, clock
        self.board = Board()
        self._live: Live | None = None
        self._drawn = 0.0

    def hear(self, event: Event) -> None:
        now = self._clock()
        line = self.board.sentence(event)
        self.board.hear(event, now)
        if line is not None and not isinstance(event, Started):  # its line appears
            self._console.print(line, markup=False)
        if isinstance(event, Started) and self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self.tick()

    def tick(self) -> None:
        """Draw, if it is time."""
        now = self._clock()
        if self._live is not None and now - self._drawn >= EVERY_SECONDS:
            self._drawn = now
            lines = drawn(self.board, now, self._console.width - 1)  # a full line would wrap on some terminals
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="crop"), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def drawn(board: Board, now: float, width: int) -> list[str]:
    """The lines of a board, none wider than `width`."""
    trainings = [running for running in board.running.values() if running.is_training]
    longest = max((len(running.job) for running in trainings), default=0)
    name = min(longest, max(NARROWEST_NAME, width // (3 if width >= WIDE else 4)))
    parts = {running.job: _parts(running, now, width, width - name - len(GAP) - BAR[0]) for running in trainings}
    rest = max((_width(kept) for kept in parts.values()), default=0)
    bar = max(BAR[0], min(BAR[1], width - name - len(GAP) - rest))
    lines = []
    for running in board.running.values():
        if running.is_training:
            head = [shortened(running.job, name).ljust(name), _bar(running.share or 0.0, bar)]
            lines.append(GAP.join([*head, *parts[running.job]]))
        else:
            lines.append(_other(running, now, width))
    return [shortened(line, width) for line in [*lines, board.whole(now)] if line]


def _parts(running: Running, now: float, width: int, room: int) -> list[str]:
    """What stands behind a training's bar: as much as fits in `room` columns, what matters most first."""
    progress = running.progress() if width >= WIDE else f"{running.done:.0f}/{running.total:.0f}"
    first = [progress, running.left(now), running.loss_words()]
    kept = _fitting([*first, running.largest_weights(1), running.speed_words(now)], room)
    more = ([*first, running.speed_words(now), running.largest_weights(shown)] for shown in (5, 4, 3, 2))
    return next((all_of_it for all_of_it in more if running.weights and _width(all_of_it) <= room), kept)


def _other(running: Running, now: float, width: int) -> str:
    """A preparation, or work that counts nothing."""
    name = f"{running.job}: {running.what}" if running.what else running.job
    if running.share is None:
        return f"{name}{GAP}at work for {duration(now - running.since)}"
    parts = [part for part in (running.progress(), running.left(now)) if part]
    name = shortened(name, max(NARROWEST_NAME, width - BAR[0] - len(GAP) - _width(parts)))
    bar = _bar(running.share, max(BAR[0], min(BAR[1], width - len(name) - len(GAP) - _width(parts))))
    return GAP.join([name, bar, *parts])


def _fitting(parts: Sequence[str], width: int) -> list[str]:
    """The first of the parts, as many as fit."""
    kept: list[str] = []
    for part in parts:
        if part and _width([*kept, part]) <= width:
            kept.append(part)
    return kept


def _width(parts: Sequence[str]) -> int:
    return sum(len(GAP) + len(part) for part in parts)


def _bar(share: float, width: int) -> str:
    full = round(share * width)
    return "━" * full + "─" * (width - full)
