"""The segments of all domains as one row, so that what a batch needs is looked up by a few operations for all of it.

Where segments are shorter than a window, looking for the pieces of one window after the other takes several times as
long as reading them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.token_files import Segments, TokenSource

I64 = NDArray[np.int64]


class Joined:
    """Domains whose files have one type, and whose segments all have an end of text or none. Shapes: R windows, S
    segments of all domains, P pieces of windows."""

    def __init__(self, domains: Mapping[int, Segments], number: int, dtype: str, end: bytes | None) -> None:
        self._domains, self._dtype, self._ends = domains, np.dtype(dtype), end
        tables, groups, before, group = [], [], 0, 0
        self._before = np.full(number, -1, np.int64)
        """Places of the domains before; -1 for a domain that is none of these."""
        for domain, source in domains.items():
            self._before[domain] = before
            tables.append(source.table[:-1] + [before, before, -before * self._dtype.itemsize, 0])
            groups.append(source.groups + group)
            before, group = before + int(source.table[-1, 0]), group + len(source) + 1
        self._start_S, self._stop_S, self._base_S, self._file_S = np.ascontiguousarray(np.concatenate(tables).T)
        self._group_S = np.concatenate(groups)

    def holds(self, domain_R: I64) -> NDArray[np.bool_]:
        """Which domains are among these."""
        return self._before[domain_R] >= 0

    def read(self, domain_R: I64, start_R: I64, length: int) -> tuple[NDArray[np.bool_], I64]:
        """Which windows of so many tokens, from place `start_R` of their domains on, lie close enough to be read at one
        look each, and the tokens of these. `DamageError` as files raise it."""
        size = self._dtype.itemsize
        first_R = self._before[domain_R] + start_R
        last_R = first_R + length
        begun_R = np.searchsorted(self._start_S, first_R, "right") - 1
        final_R = np.searchsorted(self._start_S, last_R, "left") - 1
        near_R = self._group_S[begun_R] == self._group_S[final_R]
        if not near_R.all():
            domain_R, first_R, last_R, begun_R, final_R = (
                each[near_R] for each in (domain_R, first_R, last_R, begun_R, final_R)
            )
        from_R = self._base_S[begun_R] + first_R * size
        bytes_R = self._base_S[final_R] + np.minimum(last_R, self._stop_S[final_R]) * size - from_R
        looks = zip(domain_R.tolist(), self._file_S[begun_R].tolist(), from_R.tolist(), bytes_R.tolist(), strict=True)
        data = [self._domains[domain].file(file).bytes_at(begin, count) for domain, file, begin, count in looks]
        joined = self._pieces(data, begun_R, final_R, from_R, last_R)
        return near_R, np.frombuffer(joined, self._dtype).reshape(len(data), length)

    def _pieces(self, data: Sequence[bytes], begun_R: I64, final_R: I64, from_R: I64, last_R: I64) -> bytes:
        """What the windows have of their data, one after the other."""
        number_R = final_R - begun_R + 1
        row_P = np.repeat(np.arange(len(data)), number_R)
        piece_P = np.arange(len(row_P)) + np.repeat(begun_R - np.cumsum(number_R) + number_R, number_R)
        size, stop_P, base_P = self._dtype.itemsize, self._stop_S[piece_P], self._base_S[piece_P] - from_R[row_P]
        low_P = np.maximum(base_P + self._start_S[piece_P] * size, 0)
        bounds = row_P.tolist(), low_P.tolist(), (base_P + stop_P * size).tolist()
        if self._ends is None:
            return b"".join([data[row][low:high] for row, low, high in zip(*bounds, strict=True)])
        ends = (b"", self._ends)
        ended = (stop_P < last_R[row_P]).tolist()
        return b"".join([data[row][low:high] + ends[end] for row, low, high, end in zip(*bounds, ended, strict=True)])


def joined(files: Sequence[TokenSource]) -> Joined | None:
    """The domains among these that are alike, or None where none has segments."""
    found: dict[tuple[str, bytes | None], dict[int, Segments]] = {}
    for number, source in enumerate(files):
        if isinstance(source, Segments) and len(source) > 1 and (kind := source.alike) is not None:
            found.setdefault(kind, {})[number] = source
    if not found:
        return None
    kind = max(found, key=lambda kind: len(found[kind]))
    return Joined(found[kind], len(files), *kind)
