"""What is shown: lines that fit a terminal, and a log with a line a minute and never more than two a second."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise

import pytest
from rich.console import Console

from doremi.cli.display.board import Board
from doremi.cli.display.log import LogLines
from doremi.cli.display.screen import Screen, drawn
from doremi.events.event import (
    Alarmed,
    Began,
    Event,
    Finished,
    Learning,
    Measured,
    Reading,
    Said,
    Started,
    Stepped,
    Whole,
)

NAMES = ("doremi/proxy/seed-0", "doremi/round-2/proxy/seed-1", "3m/a-mixture-with-quite-a-long-name/seed-10")
DOMAINS = ("web", "a-domain-with-a-long-name", "law")


def training(job: str, done: int, *, proxy: bool) -> list[Event]:
    weights = [0.5, 0.3, 0.2] if proxy else None
    return [
        Stepped(job, done, 12000, done * 4096),
        Measured(job, done, 1, 5.1234, 0.1, 1.0, [1.0] * 3, [1] * 3, weights, weights, None),
    ]


def board() -> Board:
    """Three trainings and a preparation after ten minutes."""
    found = Board()
    for job in NAMES:
        found.hear(Started(job), 100)
        found.hear(Began(job, "key", "dro", 12000, 0, 4096, DOMAINS), 100)
        for event in training(job, 3000, proxy="proxy" in job):
            found.hear(event, 700)
    found.hear(Started("prepare"), 100)
    found.hear(Reading("prepare", "web", 0, 10**9), 100)
    found.hear(Reading("prepare", "web", 3 * 10**8, 10**9), 700)
    found.hear(Whole(2, 12, 860.0), 680)
    return found


# -- a terminal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", range(20, 220, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(board(), 700, width)
    assert len(lines) == 5
    assert max(map(len, lines)) <= width


def test_lines_at_80_columns() -> None:
    assert drawn(board(), 700, 79) == [
        "doremi/proxy/seed-0  ━━─────  3000/12000  30 min left  loss 5.123  web 0.50",
        "doremi…proxy/seed-1  ━━─────  3000/12000  30 min left  loss 5.123  web 0.50",
        "3m/a-m…name/seed-10  ━━─────  3000/12000  30 min left  loss 5.123  20k tokens/s",
        "prepare: web  ━━━━━━━─────────────────  300.0 MB of 1.0 GB  23 min left",
        "trainings 3 to 5 of 12 · about 14 min left",
    ]


def test_lines_at_200_columns() -> None:
    first, _, _, _, whole = drawn(board(), 760, 199)
    assert first.split("  ") == [
        *("doremi/proxy/seed-0" + 24 * " ").split("  "),
        *("━━━━━━──────────────────", "step 3,000 of 12,000", "33 min left", "loss 5.123", "19k tokens/s"),
        "web 0.50, a-domain-with-a-long-name 0.30, law 0.20",
    ]
    assert whole == "trainings 3 to 5 of 12 · about 13 min left"


def test_what_ends_goes_and_what_goes_on_counts_from_there() -> None:
    found = board()
    found.hear(Finished(NAMES[0], 600), 700)
    assert list(found.running) == [*NAMES[1:], "prepare"]
    found.hear(Began("main", "key", "plain", 100, 50, 10, DOMAINS), 700)
    found.hear(Stepped("main", 60, 100, 600), 710)
    assert found.running["main"].left(710) == "40 s left"
    assert found.running["main"].speed_words(710) == "10 tokens/s"


def test_each_step_of_a_tokenizer_counts_for_itself() -> None:
    found = Board()
    found.hear(Started("prepare"), 0)
    for what, share, now in (("reading", 0.1, 0), ("reading", 0.9, 8), ("merging", 0.2, 10), ("merging", 0.4, 20)):
        found.hear(Learning("prepare", what, share), now)
    assert found.running["prepare"].left(20) == "30 s left"


def test_messages_scroll_above_the_bars() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, highlight=False)
    screen = Screen(console, lambda: 0.0)
    for event in (Started("a"), Said("a message"), Finished("a", 3.0)):
        screen.hear(event)
    screen.close()
    assert "a message" in out.getvalue()
    assert "a: done in 3 s" in out.getvalue()
    assert "begins" not in out.getvalue()


# -- a log ------------------------------------------------------------------------------------------------------------


class Log:
    """Lines and when they were written, under a clock that stands still between events."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.lines: list[tuple[float, str]] = []
        self.shown = LogLines(lambda line: self.lines.append((self.now, line)), lambda: self.now)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.shown.tick()

    def texts(self) -> list[str]:
        return [line[9:] for _, line in self.lines]

    def most_in_a_second(self) -> int:
        return max(sum(start <= at < start + 1 for at, _ in self.lines) for start, _ in self.lines)


def test_there_is_a_line_a_minute_while_anything_runs() -> None:
    log = Log()
    for job in NAMES:
        log.shown.hear(Started(job))
        log.shown.hear(Began(job, "key", "dro", 12000, 0, 4096, DOMAINS))
    log.wait(600)
    times = [at for at, _ in log.lines]
    assert max(later - at for at, later in pairwise(times)) <= 60
    assert log.most_in_a_second() <= 2
    assert set(Counter(log.texts()).values()) >= {19}


def test_a_log_says_that_it_is_at_work_between_jobs() -> None:
    log = Log()
    log.wait(120)
    assert set(log.texts()) == {"still at work"}
    assert len(log.lines) >= 2


def test_progress_gives_way_and_messages_do_not() -> None:
    log = Log()
    messages = [Said(f"warning: {number}") for number in range(20)]
    alarm = Alarmed("a", 1, "overfit", ("web",), "reason", "advice")
    for job in range(30):
        log.shown.hear(Started(f"job {job}"))
        log.shown.hear(Finished(f"job {job}", 1.0))
    for event in (*messages, alarm):
        log.shown.hear(event)
    log.wait(100)
    texts = log.texts()
    assert log.most_in_a_second() == 2
    assert [text for text in texts if text.startswith("warning")] == [message.message for message in messages]
    assert "alarm in a, overfit: reason. advice" in texts
    assert sum(text.endswith("begins") for text in texts) < 5
    assert sum(text.endswith("done in 1 s") for text in texts) == 30


def test_what_waits_is_written_at_the_end() -> None:
    log = Log()
    for number in range(10):
        log.shown.hear(Said(str(number)))
    log.shown.close()
    assert log.texts() == [str(number) for number in range(10)]


def test_a_line_has_the_time_and_all_that_is_known() -> None:
    log = Log()
    log.shown.hear(Started(NAMES[0]))
    log.shown.hear(Began(NAMES[0], "key", "dro", 12000, 0, 4096, DOMAINS))
    log.shown.hear(Whole(2, 12, 800.0))
    log.now += 29
    for event in training(NAMES[0], 3000, proxy=True):
        log.shown.hear(event)
    log.wait(10)
    time, line = log.lines[-1][1].split(" ", 1)
    assert [len(part) for part in time.split(":")] == [2, 2, 2]
    assert line.startswith("doremi/proxy/seed-0: step 3,000 of 12,000, 90 s left, loss 5.123, ")
    assert line.endswith("k tokens/s, largest weights web 0.50, a-domain-with-a-long-name 0.30, law 0.20")
    log.shown.hear(Finished(NAMES[0], 60.0))
    log.wait(2)
    assert log.texts()[-1] == "doremi/proxy/seed-0: done in 60 s, loss 5.123"
    assert log.texts()[1:3] == ["training 3 of 12 · about 13 min left", "training 3 of 12 · about 13 min left"]
