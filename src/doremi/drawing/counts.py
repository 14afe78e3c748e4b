"""How many documents of each domain a data set has, so that its tokens are those intended to within a document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from doremi.drawing.order import AT_ONCE, I64, Order


@dataclass(frozen=True)
class Count:
    """What is drawn of a domain. `tokens` count the end of each text."""

    intended: int
    draws: int = 0
    tokens: int = 0


def intended_tokens(weights: Sequence[Decimal], tokens: int) -> list[int]:
    """`tokens` divided by `weights`, `[K]`, which sum to 1: whole numbers that sum to `tokens` (largest remainder)."""
    exact = [Fraction(weight) * tokens for weight in weights]
    counts = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: tokens - sum(counts)]:
        counts[i] += 1
    return counts


def lengths(ends: NDArray[np.uint64], document: I64) -> I64:
    """Tokens of each document, `[R]`; `ends` has where each document of the domain ends in its token file."""
    end, start = ends[document].astype(np.int64), ends[np.maximum(document - 1, 0)].astype(np.int64)
    return end - np.where(document > 0, start, 0)


def count(order: Order, domain: int, ends: NDArray[np.uint64], intended: int) -> Count:
    """As many draws of a domain as come nearest to the intended tokens.

    Whole passes are known without looking. Only the documents of the last pass are added up, in their order.
    """
    size, documents = int(ends[-1]), order.documents[domain]
    passes, rest = divmod(intended, size)
    first, before = passes * documents, 0
    while True:  # ends with the pass at the latest, since all its documents are more than the rest
        draw = np.arange(first, min(first + AT_ONCE, (passes + 1) * documents), dtype=np.int64)
        upto = before + np.cumsum(lengths(ends, order.document(domain, draw)))
        if upto[-1] >= rest:
            break
        first, before = first + len(draw), int(upto[-1])
    at = int(np.searchsorted(upto, rest))
    less, more = int(upto[at - 1]) if at else before, int(upto[at])
    if rest - less <= more - rest:
        return Count(intended, first + at, passes * size + less)
    return Count(intended, first + at + 1, passes * size + more)
