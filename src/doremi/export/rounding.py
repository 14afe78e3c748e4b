"""Weights as decimals that sum to exactly 1, and as text that every trainer reads as the same number.

Some trainers check the sum, and a person who adds up the file should find no remainder. Twelve places are more than a
token count needs. They are kept because shares of documents are turned back into shares of tokens by an import: where
documents are a hundred times as long, an error is a hundred times as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

DECIMALS = 12


def round_to_one(weights: Sequence[float | Fraction]) -> tuple[Decimal, ...]:
    """`weights` (not negative, `[K]`) as decimals of `DECIMALS` places that sum to exactly 1.

    Largest remainder: everything is rounded down, then the places that are left go to the largest remainders, the
    first of equals first, so nothing moves by a whole place. Zero stays zero, and a positive weight stays positive:
    what lifts the tiny ones to one place is taken from the largest weight.
    """
    places = 10**DECIMALS
    exact = [Fraction(weight) for weight in weights]
    total = sum(exact)
    shares = [weight * places / total for weight in exact]
    counts = [max(1, math.floor(share)) if share else 0 for share in shares]
    left = places - sum(counts)
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - shares[i])
    for i in by_remainder[: max(0, left)]:
        counts[i] += 1
    counts[counts.index(max(counts))] += min(0, left)
    return tuple(Decimal(count).scaleb(-DECIMALS) for count in counts)


def decimal_text(number: Decimal) -> str:
    """A weight without an exponent: YAML 1.1 reads `1e-05` as text, and some trainers split on every letter."""
    return format(number, "f")
