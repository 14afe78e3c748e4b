"""How a task of Ray tells its events, and hears that it is to stop: through an actor that both sides ask.

A task asks at most twice a second. Loaded by a process of its own, so it needs neither torch nor the rest of doremi.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from doremi.events.event import Event, Stepped
from doremi.events.stream import Watch

ASK_EVERY_SECONDS = 0.5


class Channel:
    """Where tasks tell their events; lives in a process of Ray's."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stopping = False

    def tell(self, events: list[Event]) -> bool:
        """Whether the teller is to stop."""
        self.events += events
        return self.stopping

    def take(self) -> list[Event]:
        """What has been told since."""
        events, self.events = self.events, []
        return events

    def stop(self) -> None:
        """Whoever tells something next is to stop."""
        self.stopping = True


class Told(Watch):
    """The watch of a task."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stopping = False
        self._kept: list[Event] = []
        self._asked = 0.0

    def emit(self, event: Event) -> None:
        if isinstance(event, Stepped):  # the last of several is enough
            self._kept = [kept for kept in self._kept if not isinstance(kept, Stepped)]
        self._kept.append(event)

    def stop_requested(self) -> bool:
        if time.monotonic() - self._asked > ASK_EVERY_SECONDS:
            self.flush()
        return self.stopping

    def flush(self) -> None:
        """Tell what is kept."""
        ray = import_module("ray")
        kept, self._kept, self._asked = self._kept, [], time.monotonic()
        try:
            self.stopping = ray.get(self.channel.tell.remote(kept)) or self.stopping
        except ray.exceptions.RayError:  # nobody listens any more
            self.stopping = True
