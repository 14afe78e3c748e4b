"""Which sequences each batch holds: a pure function of (mixture, key, step, rank, world size), with no state.

How many sequences of domain i are in batch t. Lay the domains end to end on a line, domain i as long as B x p_i, and
put B marks on it one unit apart, shifted by u_t in [0, 1): a domain gets the marks that fall on it, which is always
the floor or the ceiling of B x p_i, and B in all. The shifts u_t are the bit-reversed step (van der Corput's
sequence) plus a phase from the key. Any 2^j consecutive, aligned steps then have shifts exactly 2^-j apart, so that
the number of marks on any stretch is within 1 of its length over such a block. A count of t steps is a sum of such
blocks, one for each bit of t, hence:

    |sequences of domain i in the first t batches - t B p_i| <= number of ones in t's binary form <= log2(t) + 1

for ever, and the count itself is a few integer operations: seeking costs the same at step 0 and at step 10^9.

Which sequence that is. The n-th sequence drawn from a domain with N sequences is number `n mod N` of epoch `n // N`;
each epoch is a fresh permutation of 0 .. N-1, computed by a keyed Feistel network with cycle walking (a bijection of
a grid just larger than N, repeated until the value is below N), so that no table is kept and no index is favoured.

Limits: steps up to 2^40, batches up to 2^20, domains below 2^62 sequences. Weights are realised to within 2^-40 of a
sequence a batch, and the bound above holds for the weights as given. Shapes: K domains, J bits, R rows (sequences of
this rank).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from doremi.errors import MixtureError

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_ROUND_KEYS = np.arange(16, dtype=np.uint64).reshape(8, 2) * np.uint64(0xD1342543DE82EF95)
_UNIT = 62  # positions on the line are whole multiples of 2^-62 of a sequence
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Rows:
    """The sequences of one rank at one step, all `[R]`, in a fixed order."""

    domain: I64
    """Domain index."""
    draw: I64
    """How many sequences of that domain the stream drew before this one."""
    sequence: I64
    """Which sequence of the domain, 0 <= sequence < sequences in the domain."""


class Sampler:
    """A stream of batches: `rows(step, rank, world_size)`.

    Args:
        weights: share of the tokens of each domain, `[K]`, summing to 1 (0 is allowed).
        sequences: how many sequences each domain holds, `[K]`; at least 1 where the weight is positive.
        batch_size: B, sequences in a global batch.
        key: text that names the stream, for example "proxy/0"; other keys give independent streams.
    """

    def __init__(self, weights: Sequence[float], sequences: Sequence[int], batch_size: int, key: str) -> None:
        if len(weights) != len(sequences) or not weights or batch_size < 1:
            raise MixtureError("a sampler needs one weight and one count a domain and a batch of at least 1")
        if batch_size > 2**20:
            raise MixtureError(f"a batch of {batch_size} sequences is more than the sampler can count; at most 2^20")
        if not np.isfinite(weights).all():
            raise MixtureError("weights must be finite numbers")
        empty = [i for i, (w, n) in enumerate(zip(weights, sequences, strict=True)) if w > 0 and n < 1]
        if empty:
            raise MixtureError(f"domain number {empty[0]} has a positive weight but no sequences")
        self.batch_size = batch_size
        self._sequences = np.maximum(np.asarray(sequences, dtype=np.uint64), 1)
        self._phase = int(hash64(f"phase/{key}")) >> 2
        self._whole, self._part = _edges(weights, batch_size)
        self._keys = np.array([hash64(f"order/{key}/{i}") for i in range(len(weights))], dtype=np.uint64)
        self._width = np.array([_width(int(n)) for n in self._sequences], dtype=np.uint64)

    def drawn(self, step: int) -> I64:
        """Sequences of each domain in all batches before `step`, `[K]`."""
        first, bits = _blocks(step, self._phase)
        carried = ((self._part + first) >> (_UNIT - bits)).sum(axis=0)
        return np.diff(step * self._whole + carried)

    def counts(self, step: int) -> I64:
        """Sequences of each domain in batch `step`, `[K]`: floor or ceiling of B x p_i, B in all."""
        return np.diff(self._whole + (self._part + _shift(step, self._phase) >> _UNIT))

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> Rows:
        """The rows of `rank` in batch `step`: every `world_size`-th of the batch, so that ranks get like shares."""
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not among {world_size} ranks")
        drawn = self.drawn(step)
        counts = self.counts(step)
        place = np.arange(rank, self.batch_size, world_size)
        ends = np.cumsum(counts)
        domain = np.searchsorted(ends, place, side="right")
        draw = drawn[domain] + place - (ends - counts)[domain]
        return Rows(domain=domain, draw=draw, sequence=self.sequence(domain, draw))

    def sequence(self, domain: I64, draw: I64) -> I64:
        """The sequence that draw number `draw` of each `domain` takes, `[R]`."""
        size = self._sequences[domain]
        epoch, position = np.divmod(draw.astype(np.uint64), size)
        key = mix(self._keys[domain] + epoch * np.uint64(0x9E3779B97F4A7C15))
        return _permute(position, size, key, self._width[domain]).astype(np.int64)


# -- how many ---------------------------------------------------------------------------------------------------------


def _edges(weights: Sequence[float], batch_size: int) -> tuple[I64, I64]:
    """Ends of the domains on the line of length B, 0 first, as whole units and 2^-62ths of one, `[K + 1]` each.

    Exact rational arithmetic, rounded once to 2^-40 of a unit: sums of floats that should be whole then are whole.
    """
    exact = [Fraction(w) for w in weights]
    total = sum(exact)
    if total <= 0 or min(exact) < 0:
        raise MixtureError("weights must not be negative and must not all be zero")
    scale = batch_size * 2**40 / total
    edges = [round(edge * scale) << _UNIT - 40 for edge in accumulate(exact, initial=Fraction(0))]
    whole, part = zip(*(divmod(edge, 2**_UNIT) for edge in edges), strict=True)
    return np.array(whole, dtype=np.int64), np.array(part, dtype=np.int64)


def _shift(step: int, phase: int) -> int:
    """The shift of batch `step` in 2^-62ths: the step's bits in reverse behind the point, plus the phase."""
    return (int(f"{step:0{_UNIT}b}"[::-1], 2) + phase) % 2**_UNIT


def _blocks(steps: int, phase: int) -> tuple[I64, I64]:
    """Steps 0 .. steps - 1 as blocks of 2^j steps whose shifts lie 2^-j apart: smallest shift and j, `[J, 1]` each.

    A block puts floor(2^j (edge + smallest shift)) marks before an edge (Hermite's identity).
    """
    bits = [j for j in range(steps.bit_length()) if steps >> j & 1]
    first = [_shift(steps >> j + 1 << j + 1, phase) % 2 ** (_UNIT - j) for j in bits]
    return np.array(first, dtype=np.int64)[:, np.newaxis], np.array(bits, dtype=np.int64)[:, np.newaxis]


# -- which one --------------------------------------------------------------------------------------------------------


def _width(size: int) -> int:
    """The smallest even number that is at least sqrt(size); even, so that permutations of both signs occur."""
    return 2 * ((isqrt(size - 1) + 2) // 2)


def _permute(position: U64, size: U64, key: U64, width: U64) -> U64:
    """A permutation of 0 .. size-1 chosen by `key`, applied to `position`; all `[R]`."""
    height = (size + width - np.uint64(1)) // width
    value = _feistel(position, key, height, width)
    outside = np.flatnonzero(value >= size)
    while outside.size:
        value[outside] = _feistel(value[outside], key[outside], height[outside], width[outside])
        outside = outside[value[outside] >= size[outside]]
    return value


def _feistel(value: U64, key: U64, height: U64, width: U64) -> U64:
    """A permutation of 0 .. height x width - 1: each line shifts by a hash of the other one's number, in turns."""
    row = value // width
    column = value - row * width
    for across, down in _ROUND_KEYS:
        row = (row + (mix(column + key + across) >> np.uint64(1))) % height
        column = (column + (mix(row + key + down) >> np.uint64(1))) % width
    return row * width + column


def mix(value: U64) -> U64:
    """The finaliser of splitmix64: every input bit flips every output bit with probability near one half."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


def hash64(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
