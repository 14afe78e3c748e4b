"""The validation rule: by hash alone, both halves filled, within the token bound."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doremi.corpus.validation import (
    DISTINCT,
    FEWEST,
    REPORT,
    SELECT,
    Holdout,
    Rule,
    cut,
    digest_of,
    make_rule,
    piece_length,
)

DIGESTS = [digest_of(str(i)) for i in range(20_000)]


def digest(fraction: float, half: int, tail: int = 0) -> bytes:
    """A digest that hashes to `fraction` of the range and to `half`."""
    return int(fraction * 2**64).to_bytes(8, "big") + bytes([half]) + tail.to_bytes(23, "big")


def test_digest_is_the_sha256_of_the_text_in_one_form() -> None:
    assert digest_of("a b c") == hashlib.sha256(b"a b c").digest()
    assert digest_of("caf\u00e9 au\r\n\tlait ") == digest_of("cafe\u0301 au lait")
    assert digest_of("ab") != digest_of("a b")


@given(st.text(max_size=400), st.integers(2, 60))
def test_pieces_are_the_text_and_none_is_long(text: str, length: int) -> None:
    pieces = cut(text, length)
    assert "".join(pieces) == text
    solid = [len("".join(piece.split())) for piece in pieces]
    assert all(number <= 2 * length for number in solid)
    assert all(number >= 0.9 * length for number in solid[:-1])


def test_other_white_space_does_not_move_the_pieces() -> None:
    words = [f"word{i}" for i in range(300)] + ["long" * 200]
    one, two = (cut(blank.join(words), 100) for blank in (" ", "\r\n\t"))
    assert len(one) > 15
    assert [digest_of(piece) for piece in one] == [digest_of(piece) for piece in two]


def test_pieces_end_after_a_blank_where_there_is_one() -> None:
    pieces = cut("some words " * 50, 100)
    assert len(pieces) == 4
    assert [piece[-1] for piece in pieces] == [" "] * len(pieces)
    assert [len(piece) for piece in cut("x" * 250, 100)] == [100, 150]


def test_many_pieces_fit_into_what_is_allowed_whatever_their_length() -> None:
    assert piece_length(4_000_000) == 32_768
    assert piece_length(100_000) == 1041
    assert piece_length(1) == 64
    for allowed in (6_000, 100_000, 1_000_000):
        assert FEWEST * 2 * piece_length(allowed) <= 1.4 * allowed  # the longest pieces, of 1.4 characters a token


def test_share_and_halves_by_hash() -> None:
    halves = [Rule(0.1).half(d) for d in DIGESTS]
    held = [half for half in halves if half is not None]
    assert abs(len(held) - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    assert abs(held.count(SELECT) - len(held) / 2) < 5 * (len(held) / 4) ** 0.5
    assert set(held) == {SELECT, REPORT}


def test_a_larger_fraction_only_adds_documents() -> None:
    small, large = ([Rule(f).half(d) for d in DIGESTS] for f in (0.01, 0.05))
    assert all(b == a for a, b in zip(small, large, strict=True) if a is not None)
    assert all(half is not None for half in (Rule(1.0).half(d) for d in [*DIGESTS, b"\xff" * 32]))
    assert all(half is None for half in (Rule(0.0).half(d) for d in [*DIGESTS, bytes(32)]))


def test_reading_ends_when_the_hash_has_chosen_enough() -> None:
    enough = [digest(0.005, i % 2, i) for i in range(FEWEST)]
    stream = iter([digest(0.9, 0), enough[0], *enough, *DIGESTS])  # one of them twice
    rule, distinct = make_rule(stream, 0.01)
    assert (rule, distinct) == (Rule(0.01), DISTINCT)
    assert next(stream) == DIGESTS[0]


def held(digests: list[bytes], fraction: float) -> list[int | None]:
    """The halves of what is held out of these pieces, the smallest digests first."""
    rule, _ = make_rule(digests, fraction)
    return [half for half in map(rule.half, sorted(set(digests))) if half is not None]


@pytest.mark.parametrize(("pieces", "expected"), [(3, 2), (40, 8), (200, 40), (319, 63), (320, 64), (2000, 64)])
def test_a_small_domain_gives_64_pieces_or_one_in_five(pieces: int, expected: int) -> None:
    """2000 pieces would give about 20 by their hash."""
    assert held(DIGESTS[:pieces], 0.01) == [SELECT, REPORT] * (expected // 2) + [SELECT] * (expected % 2)
    assert held([*DIGESTS[:pieces]] * 3, 0.01) == held(DIGESTS[:pieces][::-1], 0.01)


def test_where_the_hash_chooses_enough_it_decides_alone() -> None:
    rule, _ = make_rule(DIGESTS, 0.01)
    assert rule == Rule(0.01)
    assert make_rule(DIGESTS[:100], 0.5)[0] == Rule(0.5)  # half of a small domain, as was asked for


def test_where_the_hash_leaves_a_half_empty_the_smallest_digests_fill_both() -> None:
    a, b, c, d = digest(0.2, 1), digest(0.3, 1), digest(0.4, 1), digest(0.5, 0)
    for order in ([a, b, c, d], [d, c, b, a], [c, a, a, d, b, b]):
        rule, _ = make_rule(order, 0.01)
        assert [rule.half(x) for x in (a, b, c, d)] == [SELECT, REPORT, None, None]
    rule, _ = make_rule([c, a, b, d], 0.25)  # a is held out by its hash, as report: both halves are set anew
    assert [rule.half(x) for x in (a, b, c, d)] == [SELECT, REPORT, None, None]


def test_given_validation_files_of_one_half() -> None:
    ones = [digest(0.1 * i, 1) for i in range(1, 5)]
    rule, _ = make_rule(ones, 1.0)
    assert [rule.half(x) for x in ones] == [SELECT, REPORT, REPORT, REPORT]


@given(picks=st.lists(st.integers(0, 5), max_size=12), fraction=st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_both_halves_always_have_a_document(picks: list[int], fraction: float) -> None:
    digests = [DIGESTS[i] for i in picks]
    rule, distinct = make_rule(digests, fraction)
    assert distinct == min(DISTINCT, len(set(digests)))
    if distinct >= 2:
        assert {rule.half(d) for d in digests} >= {SELECT, REPORT}


def test_each_half_keeps_the_smallest_digests_that_fit_in_whatever_order_they_come() -> None:
    select = [digest(0.1, SELECT), digest(0.2, SELECT), digest(0.3, SELECT), digest(0.4, SELECT)]
    report = [digest(0.15, REPORT), digest(0.25, REPORT)]
    sizes = [*zip(select, (30, 15, 21, 1), strict=True), *zip(report, (51, 50), strict=True)]
    for order in itertools.permutations(sizes):
        holdout = Holdout(Rule(1.0), max_tokens=100)
        for one, tokens in order:
            holdout.offer(one, tokens)
        # 21 does not fit and ends its half; 51 is more than a whole half, and is as if it were not there
        assert holdout.kept() == {select[0]: SELECT, select[1]: SELECT, report[1]: REPORT}
        assert not any(holdout.wants(one) for one in (*select[2:], digest(0.9, SELECT)))
        assert holdout.wants(digest(0.05, SELECT))
        assert holdout.wants(digest(0.9, REPORT))  # there may be room


def test_training_documents_are_not_taken() -> None:
    holdout = Holdout(Rule(0.5), 100)
    assert not holdout.wants(digest(0.7, 0))
    holdout.offer(digest(0.7, 0), 5)
    assert not holdout.kept()
