"""Events cross processes and reach their listeners, whatever one of these does."""

from __future__ import annotations

import pickle

import pytest

from doremi.events import event as events
from doremi.events.event import Alarmed, Evaluated, Event, Measured, Said, SplitLosses, Stepped
from doremi.events.stream import Stream
from doremi.events.words import duration, largest, sentence, shortened, which_training

EVENTS: list[Event] = [
    events.Started("a"),
    events.Began("a", "k", "plain", 10, 0, 8, ("x", "y")),
    Stepped("a", 1, 10, 8),
    Measured("a", 1, 8, 5.0, 0.1, 1.0, [5.0, None], [8, 0], None, None, None),
    Evaluated("a", 1, 8, {"select": SplitLosses([1.0], [2.0])}),
    Alarmed("a", 1, "overfit", ("x",), "reason", "advice"),
    events.MixtureFound("m", "doremi", {"x": 0.25, "y": 0.75}),
    events.Finished("a", 100.0),
    events.Stopped("a"),
    events.Failed("a", "why"),
    events.Reading("prepare", "x", 1, 2),
    events.Learning("prepare", "x", 0.5),
    events.Whole(1, 2, None),
    Said("hello"),
    events.Dropped("a tracker", "no network"),
]


class Kept:
    name = "kept"

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def hear(self, event: Event) -> None:
        self.heard.append(event)


class Failing(Kept):
    name = "failing"
    error: BaseException = RuntimeError("no network")

    def hear(self, event: Event) -> None:
        super().hear(event)
        raise self.error


def test_every_event_is_here_and_crosses_a_pipe() -> None:
    assert {type(event) for event in EVENTS} == set(Event.__subclasses__())
    assert pickle.loads(pickle.dumps(EVENTS)) == EVENTS


def test_records_are_those_of_metrics() -> None:
    measured, evaluated, alarmed = (EVENTS[place] for place in (3, 4, 5))
    assert isinstance(measured, Measured)
    assert isinstance(evaluated, Evaluated)
    assert isinstance(alarmed, Alarmed)
    assert list(measured.record()) == [
        *("kind", "step", "tokens", "loss", "learning_rate", "gradient_norm", "domain_loss", "domain_tokens"),
        *("weights", "average_weights", "scores"),
    ]
    assert evaluated.record() == {
        "kind": "evaluation", "step": 1, "tokens": 8, "select": {"loss": [1.0], "bits_per_byte": [2.0]},
    }  # fmt: skip
    assert list(alarmed.record()) == ["kind", "step", "name", "domains", "reason", "advice"]


@pytest.mark.parametrize("first", [True, False])
def test_a_listener_that_fails_is_told_about_once_and_dropped(first: bool) -> None:
    kept, failing = Kept(), Failing()
    stream = Stream([failing, kept] if first else [kept, failing])
    for event in EVENTS:
        stream.emit(event)
    dropped = events.Dropped("failing", "no network")
    assert [event for event in kept.heard if event != dropped] == EVENTS
    assert kept.heard.count(dropped) == 1
    assert sentence(dropped) == "warning: failing failed (no network). The run goes on without it."
    assert failing.heard == EVENTS[:1]


def test_all_may_fail() -> None:
    stream = Stream([Failing(), Failing()])
    stream.emit(EVENTS[0])
    assert stream.listeners == []


def test_stopping_at_once_is_no_failure() -> None:
    failing = Failing()
    failing.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Stream([failing]).emit(EVENTS[0])


def test_words() -> None:
    assert [duration(s) for s in (0, 99.4, 99.6, 840, 5999, 6000, 90000)] == [
        *("0 s", "99 s", "2 min", "14 min", "1 h 40 min", "1 h 40 min", "25 h 00 min")
    ]
    assert [which_training(2, 12, n) for n in (0, 1, 2, 3, 99)] == [
        *("2 of 12 trainings done", "training 3 of 12", "trainings 3 and 4 of 12", "trainings 3 to 5 of 12"),
        "trainings 3 to 12 of 12",
    ]
    assert which_training(12, 12, 1) == "12 of 12 trainings done"
    assert shortened("doremi/round-2/proxy/seed-1", 16) == "dorem…oxy/seed-1"
    assert [len(shortened("doremi/proxy", width)) for width in range(1, 13)] == list(range(1, 13))
    assert largest({"x": 0.25, "y": 0.7, "z": 0.05}, 2) == "y 0.70, x 0.25"
    assert sentence(EVENTS[6]) == "m: found y 0.75, x 0.25"
    assert [type(event).__name__ for event in EVENTS if sentence(event) is None] == [
        *("Began", "Stepped", "Measured", "Evaluated", "Reading", "Learning", "Whole")
    ]
