"""Progress on a terminal: a line for each job at work, one for the whole run below, and messages that scroll above."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from doremi.cli.display.board import Board, Running
from doremi.events.event import Event, Finished, Started
from doremi.events.words import duration, sentence, shortened

EVERY_SECONDS = 0.2  # between two drawings
NARROWEST_NAME, WIDEST_NAME = 16, 40
BAR = (8, 30)  # columns of a bar, at least and at most
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
        last = self.board.running.get(event.job) if isinstance(event, Finished) else None
        self.board.hear(event, now)
        line = sentence(event)
        if line is not None and not isinstance(event, Started):  # its line appears
            loss = last.loss_words() if last is not None else ""
            self._console.print(f"{line}, {loss}" if loss else line, markup=False, soft_wrap=True)
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
    longest = max((len(_name(running)) for running in board.running.values()), default=0)
    name = min(longest, max(NARROWEST_NAME, min(WIDEST_NAME, width // 3)))
    lines = [_line(running, now, name, width) for running in board.running.values()]
    return [shortened(line, width) for line in [*lines, board.whole(now)] if line]


def _name(running: Running) -> str:
    return f"{running.job}: {running.what}" if running.what else running.job


def _line(running: Running, now: float, name: int, width: int) -> str:
    """Name, bar, and as much of the rest as fits, what matters most first."""
    head = shortened(_name(running), name).ljust(name)
    if running.share is None:
        return f"{head}{GAP}at work for {duration(now - running.since)}"
    parts = [running.progress(), running.left(now), running.loss_words()]
    kept = _fitting(parts, width - name - BAR[0] - len(GAP))
    left = width - name - len(GAP) - _width(kept)
    bar = _bar(running.share, max(BAR[0], min(BAR[1], left // 2)))
    kept += _fitting([running.speed_words(now)], left - len(bar))
    for shown in (5, 3, 2, 1):
        more = _fitting([running.weights_words(shown)], width - name - len(GAP) - len(bar) - _width(kept))
        if more:
            kept += more
            break
    return GAP.join([head, bar, *kept])


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
