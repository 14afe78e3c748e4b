"""Batches of token windows from the token files: what the sampler names, read and nothing kept.

Window n of a domain covers inputs `tokens[nT : (n+1)T]` and, one further on, their labels; so a domain with M tokens
has (M - 1) // T windows, and every token but the first is predicted once an epoch. Documents follow one another in a
window, separated by the end-of-text token. Shapes: B sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.joined import Joined, joined
from doremi.corpus.sampler import Sampler
from doremi.corpus.token_files import TokenSource

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Sequences of one micro-batch of one rank."""

    tokens: I64
    """Each row's inputs and, one further on, their labels, `[B, T + 1]`."""
    domain_B: I64
    sequence_B: I64
    """Which window of its domain each row is."""

    @property
    def input_BT(self) -> I64:
        return self.tokens[:, :-1]

    @property
    def label_BT(self) -> I64:
        return self.tokens[:, 1:]


def windows(tokens: int, sequence_length: int) -> int:
    """Training sequences in a domain of so many tokens."""
    return max(0, (tokens - 1) // sequence_length)


class BatchStream:
    """What one rank reads: `micro_batches(step)` is a pure function of the step."""

    def __init__(
        self, sampler: Sampler, files: Sequence[TokenSource], sequence_length: int,
        rank: int = 0, world_size: int = 1, accumulation: int = 1,
    ) -> None:  # fmt: skip
        self.sampler, self.files, self.sequence_length = sampler, files, sequence_length
        self.rank, self.world_size, self.accumulation = rank, world_size, accumulation
        self._joined = joined(files)

    def micro_batches(self, step: int) -> list[Batch]:
        """This rank's share of batch `step`, in `accumulation` parts of equal size."""
        rows = self.sampler.rows(step, self.rank, self.world_size)
        parts = [slice(part, None, self.accumulation) for part in range(self.accumulation)]
        return [self._read(rows.domain[part], rows.sequence[part]) for part in parts]

    def _read(self, domain_B: I64, sequence_B: I64) -> Batch:
        length = self.sequence_length
        block, start_B = np.empty((len(domain_B), length + 1), dtype=np.int64), sequence_B * length
        left = None if self._joined is None else self._left(self._joined, block, domain_B, start_B)
        if left is None or left:
            for row, (domain, start) in enumerate(zip(domain_B.tolist(), start_B.tolist(), strict=True)):
                if left is None or row in left:
                    self.files[domain].read(start, block[row])
        return Batch(block, domain_B, sequence_B)

    def _left(self, joined: Joined, block: I64, domain_B: I64, start_B: I64) -> set[int]:
        """Fill the rows of domains that are read together; the others, which are read one by one."""
        rows = joined.holds(domain_B)
        read, tokens = joined.read(domain_B[rows], start_B[rows], self.sequence_length + 1)
        if len(tokens) == len(block):
            block[:] = tokens
            return set()
        rows = rows.nonzero()[0][read]
        block[rows] = tokens
        return set(range(len(block))).difference(rows.tolist())
