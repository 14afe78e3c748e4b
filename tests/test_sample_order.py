"""Which document comes when in a data set that is drawn, and how many of each domain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doremi.drawing.counts import count, intended_tokens
from doremi.drawing.order import Order, most_shards
from doremi.export.rounding import round_to_one


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=5).filter(any), st.integers(1, 40))
def test_shards_are_pieces_of_one_order(draws: list[int], number: int) -> None:
    order = Order(tuple(50 + 10 * i for i in range(len(draws))), "a")
    whole = order.shard(0, 1, draws)
    pieces = [order.shard(i, number, draws) for i in range(number)]
    assert np.concatenate([piece.domain for piece in pieces]).tolist() == whole.domain.tolist()
    assert np.concatenate([piece.document for piece in pieces]).tolist() == whole.document.tolist()
    assert np.bincount(whole.domain, minlength=len(draws)).tolist() == draws


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=3).filter(any), st.integers(0, 999))
def test_no_shard_is_empty(draws: list[int], seed: int) -> None:
    """Readers that map files into memory refuse empty ones."""
    order = Order(tuple(9 for _ in draws), str(seed))
    for number in range(1, most_shards(draws) + 1):
        assert all(len(order.shard(i, number, draws).domain) for i in range(number))


def test_each_pass_is_another_order_of_all_documents() -> None:
    drawn = Order((70, 40), "a").shard(0, 1, [100, 200])
    passes = drawn.document[drawn.domain == 1].reshape(5, 40)
    assert (np.sort(passes, axis=1) == np.arange(40)).all()
    assert len({tuple(one) for one in passes.tolist()}) == 5
    other = Order((70, 40), "b").shard(0, 1, [100, 200])
    assert other.document.tolist() != drawn.document.tolist()


def test_domains_come_in_their_shares_all_along_but_in_no_regular_order() -> None:
    """Of two processes that get every other document, each has the mixture."""
    drawn = Order((5000, 5000), "a").shard(0, 1, [5000, 5000])
    assert np.abs(np.cumsum(drawn.domain == 0) - np.arange(1, 10_001) / 2).max() < 3
    assert abs(np.mean(drawn.domain[::2]) - 0.5) < 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 3000))
def test_counts_come_nearest_to_the_intended_tokens(sizes: list[int], intended: int) -> None:
    order, ends = Order((len(sizes),), "a"), np.cumsum(sizes).astype("<u8")
    found = count(order, 0, ends, intended)
    draw = np.arange(len(sizes) * (intended // sum(sizes) + 1))
    upto = np.cumsum(np.array(sizes)[order.document(0, draw)])
    assert found.tokens == (upto[found.draws - 1] if found.draws else 0)
    assert abs(found.tokens - intended) == min(intended, np.abs(upto - intended).min())


def test_counts_look_further_than_the_first_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    order, ends = Order((300,), "a"), np.cumsum(np.arange(1, 301)).astype("<u8")
    whole = count(order, 0, ends, 100_000)
    monkeypatch.setattr("doremi.drawing.counts.AT_ONCE", 7)
    assert count(order, 0, ends, 100_000) == whole


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(any), st.integers(1, 10**13))
def test_intended_tokens_sum_to_what_was_asked_for(weights: list[float], tokens: int) -> None:
    decimals = round_to_one(weights)
    found = intended_tokens(decimals, tokens)
    assert sum(found) == tokens
    assert all(abs(one - weight * tokens) < 1 for one, weight in zip(found, decimals, strict=True))
