"""Counting documents that come more than once, in eight bytes each: the first 64 bits of their digests.

Two different texts share these by chance once in a hundred million pairs of corpora with a million documents.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_RECENT = 1 << 18  # digests held in a Python set, ten times as large, before they are merged into the sorted array


class DigestSet:
    """A growing set of digests: a sorted array, and a small set of what came since it was sorted."""

    def __init__(self, values: NDArray[np.uint64] | None = None) -> None:
        self._sorted = np.zeros(0, np.uint64) if values is None else np.sort(values)
        self._recent: set[int] = set()

    def __contains__(self, digest: bytes) -> bool:
        value = int.from_bytes(digest[:8], "little")
        if value in self._recent:
            return True
        place = int(np.searchsorted(self._sorted, np.uint64(value)))
        return place < len(self._sorted) and int(self._sorted[place]) == value

    def add(self, digest: bytes) -> None:
        self._recent.add(int.from_bytes(digest[:8], "little"))
        if len(self._recent) >= _RECENT:
            self.values()

    def values(self) -> NDArray[np.uint64]:
        """All of them, sorted."""
        if self._recent:
            recent = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._sorted = np.union1d(self._sorted, recent)
            self._recent.clear()
        return self._sorted

    def holds(self, values: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of each value, whether it is there."""
        known = self.values()
        if not len(known):
            return np.zeros(len(values), np.bool_)
        places = np.minimum(np.searchsorted(known, values), len(known) - 1)
        return known[places] == values

    def add_all(self, values: NDArray[np.uint64]) -> None:
        """Values, which may come more than once."""
        self._sorted = np.union1d(self.values(), values)

    def update(self, other: DigestSet) -> None:
        self._sorted = np.union1d(self.values(), other.values())


def save(digests: DigestSet, path: Path) -> None:
    """Little-endian uint64, sorted."""
    digests.values().astype("<u8").tofile(path)


def load(path: Path) -> DigestSet:
    return DigestSet(np.fromfile(path, "<u8").astype(np.uint64))
