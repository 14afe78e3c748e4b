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
each epoch is a fresh permutation of 0 .. N-1, computed by a keyed Feistel network with cycle walking (a bijection on
the next power of 4, repeated until the value is below N), so that no table is kept and no index is favoured.

Integers are unsigned 64 bits (steps below 2^40, batches below 2^20, domains below 2^62 sequences). Weights are
realised to within 2^-40 of a sequence a batch. Shapes: K domains, R rows (sequences of this rank).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from doremi.errors import MixtureError

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_ROUNDS = 8
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
        empty = [i for i, (w, n) in enumerate(zip(weights, sequences, strict=True)) if w > 0 and n < 1]
        if empty:
            raise MixtureError(f"domain number {empty[0]} has a positive weight but no sequences")
        self.batch_size = batch_size
        self._sequences = np.maximum(np.asarray(sequences, dtype=np.uint64), 1)
        phase = _hash64(f"phase/{key}")
        self._whole, part = _edges(weights, batch_size)
        # shifts that push edge i past a whole unit lie in the arc [-part - phase, -phase) of the circle 2^64
        self._arc_start = np.uint64(0) - (part + phase)
        self._arc_end = np.array([(-int(phase)) % 2**64], dtype=np.uint64)
        self._keys = np.array([_hash64(f"order/{key}/{i}") for i in range(len(weights))], dtype=np.uint64)
        self._half_bits = np.array([_half_bits(int(n)) for n in self._sequences], dtype=np.uint64)

    def drawn(self, step: int) -> I64:
        """Sequences of each domain in all batches before `step`, `[K]`."""
        up_to = np.uint64(step) * self._whole + _carries(self._arc_start, self._arc_end, step)
        return np.diff(up_to, prepend=np.uint64(0)).astype(np.int64)

    def counts(self, step: int) -> I64:
        """Sequences of each domain in batch `step`, `[K]`: floor or ceiling of B x p_i, B in all."""
        return self.drawn(step + 1) - self.drawn(step)

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> Rows:
        """The rows of `rank` in batch `step`: every `world_size`-th of the batch, so that ranks get like shares."""
        drawn = self.drawn(step)
        counts = self.drawn(step + 1) - drawn
        place = np.arange(rank, self.batch_size, world_size)
        ends = np.cumsum(counts)
        domain = np.searchsorted(ends, place, side="right")
        draw = drawn[domain] + place - (ends - counts)[domain]
        return Rows(domain=domain, draw=draw, sequence=self.sequence(domain, draw))

    def sequence(self, domain: I64, draw: I64) -> I64:
        """The sequence that draw number `draw` of each `domain` takes, `[R]`."""
        size = self._sequences[domain]
        epoch, position = np.divmod(draw.astype(np.uint64), size)
        key = _mix(self._keys[domain] + epoch * np.uint64(0x9E3779B97F4A7C15))
        return _permute(position, size, key, self._half_bits[domain]).astype(np.int64)


# -- how many ---------------------------------------------------------------------------------------------------------


def _edges(weights: Sequence[float], batch_size: int) -> tuple[U64, U64]:
    """Right ends of the domains on the line of length B, as whole units and 2^-64ths of one, `[K]` each.

    Exact rational arithmetic, rounded once to 2^-40 of a unit: sums of floats that should be whole then are whole.
    """
    exact = [Fraction(w) for w in weights]
    total = sum(exact)
    if total <= 0 or min(exact) < 0:
        raise MixtureError("weights must not be negative and must not all be zero")
    edge, edges = Fraction(0), []
    for weight in exact:
        edge += weight
        edges.append(round(edge * batch_size * 2**40 / total) << 24)
    whole = np.array([e >> 64 for e in edges], dtype=np.uint64)
    part = np.array([e & (2**64 - 1) for e in edges], dtype=np.uint64)
    return whole, part


def _carries(start: U64, end: U64, steps: int) -> U64:
    """How many of the points bitreverse(0) .. bitreverse(steps - 1) lie in the arcs [start, end), `[K]`."""
    count = np.zeros_like(start)
    done = 0
    for bits in reversed(range(steps.bit_length())):
        if steps >> bits & 1:
            first = _bit_reverse(done)
            count += _below(end, first, bits) - _below(start, first, bits)
            count += np.where(start > end, np.uint64(1 << bits), np.uint64(0))  # the arc wraps around
            done |= 1 << bits
    return count


def _below(x: U64, first: int, bits: int) -> U64:
    """How many of the 2^bits points `first + j 2^(64 - bits)` are less than `x`; first < 2^(64 - bits)."""
    distance = np.where(x > np.uint64(first), x - np.uint64(first), np.uint64(0))
    if bits == 0:
        return (distance > 0).astype(np.uint64)
    spacing = np.uint64(64 - bits)  # ceil(d / s) is floor((d - 1) / s) + 1, which cannot overflow
    return np.where(distance > 0, ((distance - np.uint64(1)) >> spacing) + np.uint64(1), np.uint64(0))


def _bit_reverse(value: int) -> int:
    return int(f"{value:064b}"[::-1], 2)


# -- which one --------------------------------------------------------------------------------------------------------


def _half_bits(size: int) -> int:
    """Half the bits of the smallest power of 4 that is at least `size` (and at least 4)."""
    return max(1, ((size - 1).bit_length() + 1) // 2)


def _permute(position: U64, size: U64, key: U64, half_bits: U64) -> U64:
    """A permutation of 0 .. size-1 chosen by `key`, applied to `position`; all `[R]`."""
    value = _feistel(position, key, half_bits)
    outside = np.flatnonzero(value >= size)
    while outside.size:
        value[outside] = _feistel(value[outside], key[outside], half_bits[outside])
        outside = outside[value[outside] >= size[outside]]
    return value


def _feistel(value: U64, key: U64, half_bits: U64) -> U64:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = value >> half_bits, value & mask
    for number in range(_ROUNDS):
        left, right = right, left ^ (_mix(right + key + np.uint64(number * 0xD1342543DE82EF95 & (2**64 - 1))) & mask)
    return (left << half_bits) | right


def _mix(value: U64) -> U64:
    """The finaliser of splitmix64: every input bit flips every output bit with probability near one half."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


def _hash64(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
