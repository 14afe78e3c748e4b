"""One stream of events, and its listeners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from doremi.errors import one_line, reason_of
from doremi.events.event import Dropped, Event, Said


class Listener(Protocol):
    """Whoever hears of events."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    def hear(self, event: Event) -> None: ...


class Watch(Protocol):
    """Where a run's work tells its events, and asks whether to go on."""

    def emit(self, event: Event) -> None: ...

    def stop_requested(self) -> bool: ...

    def say(self, message: str) -> None:
        self.emit(Said(message))


class Stream:
    """Passes events on to listeners. One that fails is told about once, and dropped: the run goes on without it."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self.listeners = list(listeners)

    def emit(self, event: Event) -> None:
        """Tell all listeners. A signal that stops at once (`KeyboardInterrupt`) is nobody's failure."""
        for listener in list(self.listeners):
            try:
                listener.hear(event)
            except Exception as error:
                self._drop(listener, error)

    def _drop(self, listener: Listener, error: Exception) -> None:
        if listener in self.listeners:  # the message about another one may have dropped it already
            self.listeners.remove(listener)
            self.emit(Dropped(listener.name, one_line(reason_of(error))))
