"""The order of a data set that is drawn: which document comes when, as pure functions of numbers.

The draws of a domain are numbered from 0. Draw n takes a document of pass `n // documents`, and each pass is a fresh
permutation (corpus/sampler.py). A domain with D draws lays draw n somewhere in the n-th of D equal pieces of the line
from 0 to 1, where a hash of n says. All draws in the order of their places are the data set, so that any stretch of it
has the domains in their shares. The places are not regular: trainers deal documents to processes in turn, and with a
regular order one of two processes could get all of one domain.

A shard is the draws on its own stretch of the line. Nothing else is needed to know it. Shapes: R draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.sampler import Sampler, hash64, mix

I64 = NDArray[np.int64]
_STRIDE = np.uint64(0x9E3779B97F4A7C15)  # consecutive numbers, far apart before they are mixed
_UNIT = 2.0**-53
AT_ONCE = 1 << 14  # draws: what is worked out of so many stays in a core's cache


def most_shards(draws: Sequence[int]) -> int:
    """Into how many shards a data set may be cut so that none is empty, which many readers refuse.

    With half as many as the draws of a domain, each shard has a whole one of its equal pieces, and so a draw.
    """
    return max(1, max(draws) // 2)


@dataclass(frozen=True)
class Drawn:
    """Draws in the order of the data set, `[R]` each: the domain's index and the document's number in it."""

    domain: I64
    document: I64


@dataclass(frozen=True)
class Order:
    """`documents` has how many training documents each domain holds, `[K]`. Another `key` is another order."""

    documents: tuple[int, ...]
    key: str

    def document(self, domain: int, draw: I64) -> I64:
        """The document that each draw of a domain takes, `[R]`."""
        return self._documents(np.full(len(draw), domain), draw)

    def places(self, domain: int, draw: I64, draws: int) -> NDArray[np.float64]:
        """Where each of `draws` draws of a domain lies on the line from 0 to 1, `[R]`."""
        key = hash64(f"place/{self.key}/{domain}")
        inside = (mix(key + draw.astype(np.uint64) * _STRIDE) >> np.uint64(11)).astype(np.float64) * _UNIT
        return (draw + inside) / draws

    def shard(self, number: int, shards: int, draws: Sequence[int]) -> Drawn:
        """Shard `number` of so many, of a data set with `draws` of each domain, `[K]`."""
        parts = [self._of(domain, number, shards, count) for domain, count in enumerate(draws) if count]
        domain, draw, place = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(place, kind="stable")  # at the same place by domain, then by draw, as they stand here
        domain, draw = domain[order], draw[order]
        return Drawn(domain, self._documents(domain, draw))

    def _of(self, domain: int, number: int, shards: int, draws: int) -> tuple[I64, I64, NDArray[np.float64]]:
        """A domain's draws on the stretch of a shard; those of the pieces at its ends are looked at by both shards."""
        first, last = number * draws // shards, -(-(number + 1) * draws // shards)
        draw = np.arange(max(0, first - 1), min(draws, last + 1), dtype=np.int64)
        place = self.places(domain, draw, draws)
        inside = np.minimum((place * shards).astype(np.int64), shards - 1) == number
        draw = draw[inside]
        return np.full(len(draw), domain, dtype=np.int64), draw, place[inside]

    def _documents(self, domain: I64, draw: I64) -> I64:
        """The document that each draw takes, `[R]`."""
        parts = (np.array_split(column, len(draw) // AT_ONCE + 1) for column in (domain, draw))
        return np.concatenate([self._sampler.sequence(*part) for part in zip(*parts, strict=True)])

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler([float(count > 0) for count in self.documents], self.documents, 1, self.key)
