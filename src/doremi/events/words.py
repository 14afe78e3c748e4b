"""Events as lines for a person, and the words that such lines are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doremi.credentials import masked
from doremi.events.event import Alarmed, Dropped, Event, Failed, Finished, MixtureFound, Said, Started, Stopped

SHOWN = 5  # weights of a mixture that a line has room for


def sentence(event: Event) -> str | None:
    """An event that is told in a line of its own; None for those that only move a bar."""
    match event:
        case Said(message):
            return masked(message)
        case Dropped(listener, reason):
            return f"warning: {listener} failed ({reason}). The run goes on without it."
        case Alarmed():
            return f"alarm in {event.job}, {event.name.replace('_', ' ')}: {event.reason}. {event.advice}"
        case MixtureFound():
            more = len(event.weights) - SHOWN
            rest = f" and {more} more" if more > 0 else ""
            return f"{event.job}: found {largest(event.weights, SHOWN)}{rest}"
        case Started(job) | Finished(job) if job.startswith("shard/"):  # of which there may be a thousand
            return None
        case Started(job):
            return f"{job}: begins"
        case Finished(job, seconds):
            return f"{job}: done in {duration(seconds)}"
        case Stopped(job):
            return f"{job}: stopped, what is done is saved"
        case Failed(job):
            return f"{job}: failed"
        case _:
            return None


def largest(weights: Mapping[str, float], shown: int) -> str:
    """The largest weights by name."""
    order = sorted(weights, key=lambda name: -weights[name])
    return ", ".join(f"{name} {weights[name]:.2f}" for name in order[:shown])


def duration(seconds: float) -> str:
    """Whole seconds, minutes or hours, as a person says them."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def which_training(done: int, total: int, running: int) -> str:
    """`training 3 of 12`, with `running` of them at work."""
    first, last = done + 1, min(done + running, total)
    if running <= 0 or first > total:
        return f"{done} of {total} trainings done"
    if first == last:
        return f"training {first} of {total}"
    return f"trainings {first} {'and' if last == first + 1 else 'to'} {last} of {total}"


def shortened(name: str, width: int) -> str:
    """A name that fits, cut in its middle: both ends tell more."""
    if len(name) <= width:
        return name
    tail = max(0, (width - 1) * 2 // 3)
    head = max(0, width - 1 - tail)
    return (name[:head] + "…" + name[len(name) - tail :])[:width]


def joined(parts: Sequence[str]) -> str:
    """Those that are not empty."""
    return ", ".join(part for part in parts if part)
