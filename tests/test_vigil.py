"""Who waits for a lost process where nothing can be heard is told, and ends; who is at work is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch.distributed import HashStore

from doremi.distributed import World, vigil
from doremi.distributed.vigil import Vigil

PATIENCE = 0.1


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(vigil, "SILENT_SECONDS", 10.0)
    monkeypatch.setattr(vigil, "LATER_SECONDS", 0.0)


class Ended:
    """What a vigil was ended with."""

    def __init__(self, one: Vigil) -> None:
        self.messages: list[str] = []
        self.heard = threading.Event()
        self.one, one.give_up = one, self.end

    def end(self, message: str) -> None:
        self.messages.append(message)
        self.one.stop()
        self.heard.set()


@pytest.fixture
def two(fast: None) -> Iterator[tuple[Vigil, Vigil]]:
    store = HashStore()
    pair = (Vigil(store, 0, 2, PATIENCE), Vigil(store, 1, 2, PATIENCE))
    yield pair
    for one in pair:
        one.stop()


def test_who_is_behind_is_named(two: tuple[Vigil, Vigil]) -> None:
    ended = Ended(two[0])
    two[0].step()
    for one in two:
        one.start()
    assert ended.heard.wait(20)
    assert ended.messages == [
        "rank 1 of 2 did not answer in time (it hangs or is stopped). "
        "Run the same command to resume from the last checkpoint."
    ]


def test_who_is_silent_is_named_though_it_came_as_far(
    two: tuple[Vigil, Vigil], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "SILENT_SECONDS", 0.3)
    ended = Ended(two[0])
    two[0].store.set("vigil/1", "0/1")
    two[0].start()
    assert ended.heard.wait(20)
    assert "rank 1 of 2" in ended.messages[0]


def test_all_who_are_at_work_and_who_has_ended_well_are_left_alone(
    two: tuple[Vigil, Vigil], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = [Ended(one) for one in two]
    for one in two:
        one.step()
        one.start()
    time.sleep(3 * PATIENCE)  # a long evaluation, on both
    two[1].stop()
    two[1].join()
    monkeypatch.setattr(vigil, "SILENT_SECONDS", 0.1)
    two[0].step()  # and the report, on one
    time.sleep(3 * PATIENCE)
    assert [one.messages for one in ended] == [[], []]
    assert two[0].is_alive()


def test_who_waits_for_one_that_has_failed_ends_without_a_word(
    two: tuple[Vigil, Vigil], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "SILENT_SECONDS", 0.1)
    ended = Ended(two[0])
    two[0].patience = 1000
    two[0].store.set(vigil.FAILED, "its message")
    two[0].start()
    assert ended.heard.wait(20)
    assert ended.messages == [""]


def test_nobody_leaves_while_the_thread_speaks_to_the_store(fast: None) -> None:
    """When Python ends while a thread is inside of the store's own code, the process aborts after its work is done."""

    class Slow(HashStore):
        def set(self, key: str, value: str) -> None:
            time.sleep(0.3 * value.startswith(str(vigil.GONE)))
            super().set(key, value)

    store = Slow()
    one = Vigil(store, 0, 2, 1000.0)
    with World(0, 2, torch.device("cpu"), store, None, one).watched(lambda _: None):
        assert one.is_alive()
    assert not one.is_alive()
    assert store.get("vigil/0").startswith(str(vigil.GONE).encode())
