"""What is going on at this moment, put together from events: all jobs at work, and the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from doremi.events.event import (
    Began,
    Event,
    Failed,
    Finished,
    Learning,
    Measured,
    Reading,
    Started,
    Stepped,
    Stopped,
    Whole,
)
from doremi.events.words import duration, joined, largest, sentence, which_training
from doremi.files import size_in_words

ENOUGH = 0.5  # seconds of work from which a speed can be told


@dataclass
class Running:
    """A job at work. `done` of `total` are steps, bytes or a share; both 0 while it has none."""

    job: str
    since: float
    """Time at which it began to count."""
    first: float = 0.0
    """What was done then."""
    done: float = 0.0
    total: float = 0.0
    what: str = ""
    """Of a preparation: whose text is read, or how a tokenizer is trained."""
    is_training: bool = False
    of_bytes: bool = False
    tokens_per_step: int = 0
    of_peak: float | None = None
    """Of a training: share of the devices' operations that one step a second would need."""
    domains: tuple[str, ...] = ()
    loss: float | None = None
    weights: Sequence[float] | None = None
    """Of a proxy: the average of its weights so far, by domain."""

    def count(self, done: float, total: float, now: float) -> None:
        """So much is done; what counts something else than before begins anew."""
        if total != self.total or done < self.done:
            self.since, self.first, self.total = now, done, total
        self.done = done

    def speed(self, now: float) -> float | None:
        """Of `done`, a second; None while it cannot be told."""
        passed = now - self.since
        return (self.done - self.first) / passed if passed > ENOUGH and self.done > self.first else None

    def seconds_left(self, now: float) -> float | None:
        speed = self.speed(now)
        return None if speed is None else max(0.0, self.total - self.done) / speed

    # -- words -------------------------------------------------------------------------------------------------------

    @property
    def share(self) -> float | None:
        """How much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else None

    def progress(self) -> str:
        if not self.total:
            return ""
        if self.is_training:
            return f"step {self.done:,.0f} of {self.total:,.0f}"
        if self.of_bytes:
            return f"{size_in_words(self.done)} of {size_in_words(self.total)}"
        return f"{self.done:.0%}"

    def left(self, now: float) -> str:
        seconds = self.seconds_left(now)
        return "" if seconds is None or self.done >= self.total else f"{duration(seconds)} left"

    def loss_words(self) -> str:
        return "" if self.loss is None else f"loss {self.loss:.3f}"

    def speed_words(self, now: float) -> str:
        speed = self.speed(now)
        if speed is None or not self.is_training:
            return ""
        tokens = speed * self.tokens_per_step
        rate = f"{tokens:,.0f} tokens/s" if tokens < 9999.5 else f"{tokens / 1000:,.0f}k tokens/s"
        return rate if self.of_peak is None else f"{rate}, {speed * self.of_peak:.0%} MFU"

    def largest_weights(self, shown: int) -> str:
        return largest(dict(zip(self.domains, self.weights, strict=True)), shown) if self.weights else ""

    def line(self, now: float) -> str:
        """All that is known of it, for a log."""
        said = joined([self.what, self.progress(), self.left(now), self.loss_words(), self.speed_words(now)])
        weights = self.largest_weights(3)
        return joined([f"{self.job}: {said or 'at work'}", f"largest weights {weights}" if weights else ""])


class Board:
    """Hears events. Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        """By job, in the order in which they began."""
        self.stage = ""
        """The job that began last."""
        self._whole: Whole | None = None
        self._told = 0.0

    def hear(self, event: Event, now: float) -> None:
        match event:
            case Started(job):
                self.stage = job
                self.running[job] = Running(job, now)
            case Finished(job) | Stopped(job) | Failed(job):
                self.running.pop(job, None)
            case Whole():
                self._whole, self._told = event, now
            case Began() | Stepped() | Measured() | Reading() | Learning():
                _move(self.running.setdefault(event.job, Running(event.job, now)), event, now)
            case _:
                pass

    def sentence(self, event: Event) -> str | None:
        """The event as a line, before it is heard: a training that is done says its last loss."""
        line = sentence(event)
        running = self.running.get(event.job) if isinstance(event, Finished) else None
        return line if line is None or running is None else joined([line, running.loss_words()])

    def whole(self, now: float) -> str:
        """How far the whole run is; empty while nobody has said."""
        if self._whole is None:
            return ""
        trainings = sum(running.is_training for running in self.running.values())
        text = which_training(self._whole.trainings_done, self._whole.trainings, trainings)
        left = self._whole.seconds_left
        if left is None:
            return text
        return f"{text} · about {duration(max(0.0, left - (now - self._told)))} left"


def _move(running: Running, event: Began | Stepped | Measured | Reading | Learning, now: float) -> None:
    match event:
        case Began():
            running.is_training = True
            running.tokens_per_step, running.domains = event.tokens_per_step, event.domains
            running.of_peak = event.operations / event.peak if event.operations and event.peak else None
            running.count(event.step, event.steps, now)
        case Stepped():
            running.count(event.step, event.steps, now)
        case Measured():
            running.loss, running.weights = event.loss, event.average_weights
        case Reading():
            running.what, running.of_bytes = event.what, True
            running.count(event.done_bytes, event.total_bytes, now)
        case Learning():
            if running.of_bytes or running.what != event.what:
                running.total = 0.0
            running.what, running.of_bytes = event.what, False
            running.count(event.share, 1.0, now)
