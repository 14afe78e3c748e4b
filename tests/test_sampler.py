"""The sampler by counting: every batch, every draw and every epoch against a direct definition in Python integers."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from doremi.corpus.sampler import Sampler
from doremi.errors import MixtureError

I64 = NDArray[np.int64]
Orders = Callable[[int, int], I64]
GRID = 40  # the ends of the domains are rounded to 2^-40 of a sequence
LAST_STEP = 2**40 - 1
STEPS = 100_000
FOUR_SIGMA = 4.0

RARE = [0.1**0.5, 1e-4, math.exp(-1), 0.2, 1 - 0.1**0.5 - 1e-4 - math.exp(-1) - 0.2]
THOUSAND = [1 / (7 + i) for i in range(998)] + [1e-4 * sum(1 / (7 + i) for i in range(998)), 0.0]
CASES = {
    "thirds": ([1 / 3, 1 / 3, 1 / 3], 4),
    "irrational": ([math.pi, math.e, 2**0.5], 4),
    "rare": (RARE, 64),
    "one sequence a batch": (RARE, 1),
}


def sampler(weights: Sequence[float], batch: int, key: str = "test/0", sequences: int = 1000) -> Sampler:
    return Sampler(weights, [sequences] * len(weights), batch, key)


def widths(weights: Sequence[float], batch: int) -> list[Fraction]:
    """B x p_i, exactly."""
    total = sum(Fraction(w) for w in weights)
    return [batch * Fraction(w) / total for w in weights]


# -- the oracle: the definition, in Python integers -------------------------------------------------------------------


def ends(weights: Sequence[float], batch: int) -> list[int]:
    """Right end of each domain on the line, in 2^-64ths of a sequence."""
    return [round(edge * 2**GRID) << 64 - GRID for edge in accumulate(widths(weights, batch))]


def shift(step: int, key: str) -> int:
    """u_t in 2^-64ths: the step's bits in reverse behind the point, plus the phase, without its whole part."""
    phase = int.from_bytes(hashlib.sha256(f"phase/{key}".encode()).digest()[:8], "little")
    reverse = sum(2 ** (63 - bit) for bit in range(64) if step >> bit & 1)
    return (reverse + phase) % 2**64


def marks(weights: Sequence[float], batch: int, key: str, step: int) -> list[int]:
    """The counts of one batch: mark number m lies at m - u_t, and belongs to the domain whose stretch it is on."""
    right, counts = ends(weights, batch), [0] * len(weights)
    for number in range(1, batch + 1):
        counts[bisect_left(right, number * 2**64 - shift(step, key))] += 1
    return counts


def drawn(weights: Sequence[float], batch: int, key: str, steps: int) -> list[int]:
    """The sums of `marks` over all steps before `steps`, in closed form, for any number of steps.

    In 2^j consecutive, aligned steps the shifts are c, c + 2^-j, c + 2 x 2^-j, ...; before an edge e lie
    floor(e + c) + floor(e + c + 2^-j) + ... = floor(2^j (e + c)) marks (Hermite's identity).
    """
    right, before, start = ends(weights, batch), [0] * (len(weights) + 1), 0
    for bit in reversed(range(steps.bit_length())):
        if steps >> bit & 1:
            smallest = shift(start, key) % 2 ** (64 - bit)
            for i, end in enumerate(right):
                before[i + 1] += (end + smallest) >> (64 - bit)
            start += 2**bit
    return np.diff(np.array(before, dtype=object)).tolist()


weight_lists = st.lists(
    st.one_of(st.just(0.0), st.sampled_from([1e-4, 1 / 3, 0.25, 1e-12]), st.floats(0, 100)), min_size=1, max_size=9
).filter(lambda weights: sum(weights) > 0)
steps_at_any_age = st.one_of(st.integers(0, 300), st.integers(0, LAST_STEP))


@settings(max_examples=60, deadline=None)
@given(weights=weight_lists, batch=st.integers(1, 40), key=st.text(max_size=5), start=steps_at_any_age)
def test_counts_are_the_marks_on_each_stretch(weights: list[float], batch: int, key: str, start: int) -> None:
    stream = sampler(weights, batch, key)
    for step in range(start, min(start + 8, LAST_STEP + 1)):
        assert stream.counts(step).tolist() == marks(weights, batch, key, step)
    assert stream.drawn(start).tolist() == drawn(weights, batch, key, start)


@settings(max_examples=30, deadline=None)
@given(weights=weight_lists, batch=st.integers(1, 12), key=st.text(max_size=5), steps=st.integers(0, 150))
def test_drawn_is_the_sum_of_the_marks(weights: list[float], batch: int, key: str, steps: int) -> None:
    total = np.zeros(len(weights), dtype=np.int64)
    for step in range(steps):
        total += marks(weights, batch, key, step)
    assert sampler(weights, batch, key).drawn(steps).tolist() == total.tolist()
    assert drawn(weights, batch, key, steps) == total.tolist()  # the closed form, which the tests far out rely on


# -- how many: every batch over many steps ----------------------------------------------------------------------------


def assert_counted(stream: Sampler, exact: list[Fraction], steps: int) -> None:
    """Every batch and every sum of batches of the first `steps`, in blocks that keep memory small."""
    total = np.zeros(len(exact), dtype=np.int64)
    for start in range(0, steps, 331):
        counts = np.stack([stream.counts(step) for step in range(start, min(start + 331, steps))])
        assert np.all(counts.sum(axis=1) == stream.batch_size)
        assert np.all(counts >= [math.floor(width) for width in exact])
        assert np.all(counts <= [math.ceil(width) for width in exact])
        totals = total + np.cumsum(counts, axis=0)
        assert_within_the_bound(totals, start + 1, exact)
        total = totals[-1]
        assert stream.drawn(start + len(counts)).tolist() == total.tolist()


def assert_within_the_bound(totals: I64, first: int, exact: list[Fraction]) -> None:
    """|drawn - t B p_i| <= ones in t's binary form, in whole 2^-40ths, with two of them a step for rounding."""
    step = np.arange(first, first + len(totals))[:, np.newaxis]
    width = np.array([round(w * 2**GRID) for w in exact])
    error = np.abs(totals * 2**GRID - step * width)
    assert np.all(error <= np.bitwise_count(step).astype(np.int64) * 2**GRID + 2 * step)


@pytest.mark.parametrize("steps", [25_000, pytest.param(STEPS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_every_batch_and_every_sum_of_batches(name: str, steps: int) -> None:
    weights, batch = CASES[name]
    assert_counted(sampler(weights, batch, name), widths(weights, batch), steps)


@pytest.mark.parametrize("steps", [5_000, pytest.param(STEPS, marks=pytest.mark.slow)])
def test_a_thousand_domains(steps: int) -> None:
    assert_counted(sampler(THOUSAND, 64), widths(THOUSAND, 64), steps)


def test_whole_shares_are_the_same_in_every_batch() -> None:
    """B x p_i = 1, 2, 3 behind a domain whose share is not whole: rounding must not make a batch differ."""
    weights = [0.3, 1 / 9, 2 / 9, 3 / 9, 1 - 0.3 - 6 / 9]
    stream = sampler(weights, 9)
    for step in [*range(300), *range(10**6, 10**6 + 300)]:
        assert stream.counts(step)[1:4].tolist() == [1, 2, 3]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_rare_domain_gets_its_samples_in_time(batch: int) -> None:
    weight = 1e-4
    in_time = 2 ** math.ceil(math.log2(1 / (batch * weight)))  # 1 / (B p), up to the next power of 2
    for number in range(20):
        stream = sampler([0.5, weight, 0.5 - weight], batch, f"rare/{number}")
        first = bisect_right(range(2 * in_time), 0, key=lambda step: int(stream.drawn(step)[1]))
        assert stream.counts(first - 1)[1] == 1
        assert first <= in_time
        for block in range(in_time, 10 * in_time + 1, in_time):  # and again in every such block of steps
            assert stream.drawn(block)[1] > stream.drawn(block - in_time)[1]
        assert abs(int(stream.drawn(STEPS)[1]) - STEPS * batch * weight) <= 2


def test_zero_weights_are_never_drawn() -> None:
    stream = Sampler([0.0, 0.3, 0.0, 0.0, 0.7, 0.0], [0, 10, 0, 5, 10, 0], 5, "zeros")
    for step in range(500):
        assert set(stream.rows(step).domain.tolist()) <= {1, 4}
    assert stream.drawn(LAST_STEP)[[0, 2, 3, 5]].tolist() == [0, 0, 0, 0]


def test_a_mark_on_an_end_belongs_to_the_domain_before() -> None:
    key = "tie/28901276"  # its phase ends in 24 zero bits, so that there is a step at which a mark meets an end
    weights, batch = [1 / 3, 0.25, 5 / 12], 4
    for end in [0, *ends(weights, batch)[:2]]:
        step = int(f"{-(end + shift(0, key)) % 2**64:064b}"[::-1], 2)
        assert (end + shift(step, key)) % 2**64 == 0
        assert sampler(weights, batch, key).counts(step).tolist() == marks(weights, batch, key, step)
        for later in (step + 1, (step >> 10) + 1 << 10):
            assert sampler(weights, batch, key).drawn(later).tolist() == drawn(weights, batch, key, later)


# -- rows: ranks and draws --------------------------------------------------------------------------------------------


def assert_union_is_whole(stream: Sampler, step: int, world_size: int) -> None:
    """Rank r holds rows r, r + W, r + 2 W, ... of the one-rank batch, in that order."""
    whole = stream.rows(step)
    assert len(whole.domain) == stream.batch_size
    for rank in range(world_size):
        part = stream.rows(step, rank, world_size)
        for field in ("domain", "draw", "sequence"):
            assert getattr(part, field).tolist() == getattr(whole, field)[rank::world_size].tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [4, 10, 42])
def test_the_union_over_ranks_is_the_one_rank_stream(batch: int, world_size: int) -> None:
    stream = sampler(RARE, batch)
    for step in [*range(12), 10**5, 10**9]:
        assert_union_is_whole(stream, step, world_size)


@settings(max_examples=40, deadline=None)
@given(weight_lists, st.integers(1, 40), st.integers(1, 50), steps_at_any_age, st.integers(1, 2**62 - 1))
def test_rows_for_any_mixture(weights: list[float], batch: int, world_size: int, step: int, sequences: int) -> None:
    stream = sampler(weights, batch, "any", sequences)
    assert_union_is_whole(stream, step, world_size)
    rows, before = stream.rows(step), drawn(weights, batch, "any", step)
    expected = [
        (domain, before[domain] + number)
        for domain, count in enumerate(marks(weights, batch, "any", step))
        for number in range(count)
    ]
    assert list(zip(rows.domain.tolist(), rows.draw.tolist(), strict=True)) == expected
    assert np.all((rows.sequence >= 0) & (rows.sequence < sequences))


def test_ranks_get_like_shares_of_each_domain() -> None:
    stream = sampler([0.5, 0.3, 0.2], 24)
    for step in range(50):
        shares = [np.bincount(stream.rows(step, rank, 4).domain, minlength=3) for rank in range(4)]
        assert np.max(np.ptp(shares, axis=0)) <= 1


@pytest.mark.parametrize("start", [0, 12_345, 10**9])
def test_draws_are_consecutive_and_each_epoch_is_whole(start: int) -> None:
    weights, sizes = [0.05, 0.25, 0.3, 0.4], [3, 1, 17, 50]
    stream = Sampler(weights, sizes, 13, "epochs")
    first, batches = stream.drawn(start), [stream.rows(step) for step in range(start, start + 200)]
    for domain, size in enumerate(sizes):
        draw = np.concatenate([rows.draw[rows.domain == domain] for rows in batches])
        sequence = np.concatenate([rows.sequence[rows.domain == domain] for rows in batches])
        assert draw.tolist() == list(range(first[domain], first[domain] + len(draw)))
        skip = int(-first[domain] % size)
        epochs = (len(draw) - skip) // size
        assert epochs >= 2
        whole = sequence[skip : skip + epochs * size].reshape(epochs, size)
        assert np.array_equal(np.sort(whole, axis=1), np.tile(np.arange(size), (epochs, 1)))


def test_mixtures_share_the_order_of_each_domain() -> None:
    """Candidates are paired: whatever the weights, a domain's sequences come in the same order."""
    one, other = (
        Sampler([0.5, 0.2, 0.3], [40, 50, 60], 16, "main/0"),
        Sampler([0.1, 0.2, 0.7], [40, 50, 60], 16, "main/0"),
    )
    for domain in range(3):
        drawn = []
        for stream in (one, other):
            batches = [stream.rows(step) for step in range(40)]
            drawn.append(np.concatenate([rows.sequence[rows.domain == domain] for rows in batches]))
        shared = min(map(len, drawn))
        assert shared > 60
        assert np.array_equal(drawn[0][:shared], drawn[1][:shared])


def test_ten_thousand_ranks() -> None:
    stream = Sampler(RARE, [4096] * 5, 20_000, "wide")
    whole, parts = stream.rows(1), [stream.rows(1, rank, 10_000) for rank in range(10_000)]
    for field in ("domain", "draw", "sequence"):
        union = np.stack([getattr(part, field) for part in parts], axis=1).reshape(-1)
        assert np.array_equal(union, getattr(whole, field))


def test_a_stream_has_no_state() -> None:
    used = sampler(RARE, 8)
    used.rows(10**9, 1, 2)
    assert used.rows(4).sequence.tolist() == sampler(RARE, 8).rows(4).sequence.tolist()


# -- which one: epochs are permutations, and fair ones ----------------------------------------------------------------


def epochs_of(size: int, number: int, key: str = "fair") -> I64:
    """The first `number` epochs of a domain, `[number, size]`."""
    draw = np.arange(size * number)
    return Sampler([1.0], [size], 1, key).sequence(np.zeros_like(draw), draw).reshape(number, size)


def domains_of(size: int, number: int, key: str = "fair") -> I64:
    """The first epoch of each of `number` domains, whose keys all differ, `[number, size]`."""
    stream = Sampler([1.0] * number, [size] * number, 1, key)
    domain, draw = np.divmod(np.arange(size * number), size)
    return stream.sequence(domain, draw).reshape(number, size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 100, 1000, 4095, 4096, 4097])
def test_every_epoch_is_a_permutation(size: int) -> None:
    for orders in (epochs_of(size, 4), domains_of(size, 4)):
        assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(size), (4, 1)))


@pytest.mark.parametrize("size", [100, 1000, 4097])
def test_orders_differ_by_epoch_by_domain_and_by_key(size: int) -> None:
    """Two independent orders agree at one position on average (Poisson): 12 agreements would be one in 10^9."""
    orders = np.concatenate([epochs_of(size, 4), domains_of(size, 4)[1:], epochs_of(size, 2, "other"), [range(size)]])
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert np.count_nonzero(one == other) < 12
            assert np.count_nonzero(np.diff(one) == np.diff(other)) < 12  # nor is one the other, moved along


def assert_fair(observed: NDArray[np.int64], freedom: int) -> None:
    """Chi-square of cells that should be equally full is at most four standard deviations above its mean."""
    expected = observed.sum() / observed.size
    chi_square = float(((observed - expected) ** 2).sum() / expected)
    assert chi_square - freedom <= FOUR_SIGMA * math.sqrt(2 * freedom)


@pytest.mark.parametrize("orders", [epochs_of, domains_of])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 8, 16, 17, 30])
def test_no_position_and_no_index_is_favoured(size: int, orders: Orders) -> None:
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (np.arange(size), orders(size, 12_000)), 1)
    assert_fair(table, (size - 1) ** 2)


@pytest.mark.parametrize("orders", [epochs_of, domains_of])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_orders_of_a_small_domain_are_about_equally_frequent(size: int, orders: Orders) -> None:
    code = orders(size, 12_000) @ size ** np.arange(size)
    frequency = np.unique(code, return_counts=True)[1]
    assert len(frequency) == math.factorial(size)
    expected = 12_000 / len(frequency)
    assert np.max(np.abs(frequency - expected)) <= FOUR_SIGMA * math.sqrt(expected)


def test_an_epoch_starts_anywhere_after_the_one_before() -> None:
    size, orders = 10, epochs_of(10, 12_000)
    table = np.zeros((size, size), dtype=np.int64)
    np.add.at(table, (orders[:-1, -1], orders[1:, 0]), 1)
    assert_fair(table, size**2 - 1)


def test_neighbours_of_a_large_domain_are_read_far_apart() -> None:
    """Distance from one draw to the next, in tenths of the domain, round the end: all equally likely."""
    size = 10**6 + 3
    distance = np.diff(epochs_of(size, 1)[0]) % size
    assert_fair(np.bincount(distance * 10 // size, minlength=10), 9)


@pytest.mark.parametrize("size", [3, 4, 9, 16, 25, 64])
def test_even_and_odd_permutations_both_occur(size: int) -> None:
    orders = epochs_of(size, 400)
    inversions = sum((orders[:, [i]] > orders[:, i + 1 :]).sum(axis=1) for i in range(size))
    assert abs(np.sum(inversions % 2) - 200) <= FOUR_SIGMA * 10


# -- far out: 64-bit edges --------------------------------------------------------------------------------------------

FAR = [10**9, 10**12, 2**39 - 1, 2**39, LAST_STEP]


@pytest.mark.parametrize("step", FAR)
@pytest.mark.parametrize("batch", [1, 4, 2**20 - 1, 2**20])
@pytest.mark.parametrize("weights", [[1.0], [1 / 3, 1 / 3, 1 / 3], [1e-9, 1 - 2e-9, 1e-9], RARE])
def test_sums_far_out_are_exact(weights: list[float], batch: int, step: int) -> None:
    stream = sampler(weights, batch)
    assert stream.drawn(step).tolist() == drawn(weights, batch, "test/0", step)
    assert stream.drawn(step + 1).tolist() == drawn(weights, batch, "test/0", step + 1)
    assert stream.counts(step).sum() == batch
    exact = widths(weights, batch)
    for total, width in zip(stream.drawn(step).tolist(), exact, strict=True):
        assert abs(total - step * width) <= step.bit_count() + Fraction(step, 2**GRID)


@pytest.mark.parametrize("sequences", [10**12 // 1024, 2**31, 4**30 + 1, 2**62 - 1])
@pytest.mark.parametrize("step", FAR)
def test_rows_of_a_huge_domain(step: int, sequences: int) -> None:
    """10^12 tokens are 10^9 sequences of 1024; the last rank of 10,000 reads in the middle of some late epoch."""
    weights, batch = [0.3, 1e-4, 0.7 - 1e-4], 2**20
    stream = sampler(weights, batch, "huge", sequences)
    rows = stream.rows(step, 9_999, 10_000)
    before, after = drawn(weights, batch, "huge", step), drawn(weights, batch, "huge", step + 1)
    stop = list(accumulate(b - a for a, b in zip(before, after, strict=True)))
    place = range(9_999, batch, 10_000)
    domain = [bisect_right(stop, p) for p in place]
    assert rows.domain.tolist() == domain
    assert rows.draw.tolist() == [after[d] - stop[d] + p for d, p in zip(domain, place, strict=True)]
    assert np.all((rows.draw >= 0) & (rows.sequence >= 0) & (rows.sequence < sequences))


@pytest.mark.parametrize("sequences", [10**9, 4**30 + 1, 2**62 - 1])
def test_a_huge_epoch_repeats_nothing_and_covers_the_domain(sequences: int) -> None:
    for first in (0, sequences - 20_000, 10**18 // sequences * sequences):  # within one epoch each
        draw = np.arange(first, first + 20_000)
        sequence = sampler([1.0], 1, "huge", sequences).sequence(np.zeros_like(draw), draw)
        assert len(np.unique(sequence)) == 20_000
        assert_fair(np.bincount(sequence // (sequences // 100 + 1), minlength=100), 99)


# -- what a user can do wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "sequences", "batch", "message"),
    [
        ([0.5, 0.5], [10, 0], 4, "domain number 1 has a positive weight but no sequences"),
        ([0.5, -0.5, 1.0], [1, 1, 1], 4, "must not be negative"),
        ([0.0, 0.0], [1, 1], 4, "must not all be zero"),
        ([0.5, 0.5], [10], 4, "one weight and one count a domain"),
        ([], [], 4, "one weight and one count a domain"),
        ([1.0], [10], 0, "a batch of at least 1"),
        ([1.0], [10], 2**20 + 1, "at most 2"),
        ([math.nan, 1.0], [1, 1], 4, "must be finite"),
        ([math.inf, 1.0], [1, 1], 4, "must be finite"),
    ],
)
def test_mistakes(weights: list[float], sequences: list[int], batch: int, message: str) -> None:
    with pytest.raises(MixtureError, match=message):
        Sampler(weights, sequences, batch, "x")


@pytest.mark.parametrize(("rank", "world_size"), [(-1, 2), (2, 2), (5, 1)])
def test_a_rank_outside_its_world_is_refused(rank: int, world_size: int) -> None:
    with pytest.raises(ValueError, match=f"rank {rank} is not among {world_size} ranks"):
        sampler(RARE, 8).rows(0, rank, world_size)
