"""The segments of all domains as one row, so that what a batch needs is looked up by a few operations for all of it.

Where segments are shorter than a window, looking for the pieces of one window after the other takes several times as
long as reading them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.token_files import FlatFile, Segments, TokenSource

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
        size = self._dtype.itemsize
        self._low_S, self._high_S = self._base_S + self._start_S * size, self._base_S + self._stop_S * size
        """Bytes of its file where each begins and stops."""

    def holds(self, domain_R: I64) -> NDArray[np.bool_]:
        """Which domains are among these."""
        return self._before[domain_R] >= 0

    def read(self, domain_R: I64, start_R: I64, length: int) -> tuple[NDArray[np.bool_], I64]:
        """Which windows of so many tokens, from place `start_R` of their domains on, lie close enough to be read at one
        look each, and the tokens of these. `DamageError` as files raise it."""
        size = self._dtype.itemsize
        first_R = self._before[domain_R] + start_R
        last_R = first_R + length
        begun_R, final_R = np.searchsorted(self._start_S, [first_R, last_R - 1], "right") - 1
        near_R = self._group_S[begun_R] == self._group_S[final_R]
        if not near_R.all():
            domain_R, first_R, last_R, begun_R, final_R = (
                each[near_R] for each in (domain_R, first_R, last_R, begun_R, final_R)
            )
        from_R = self._base_S[begun_R] + first_R * size
        bytes_R = self._base_S[final_R] + np.minimum(last_R, self._stop_S[final_R]) * size - from_R
        file_R = zip(domain_R.tolist(), self._file_S[begun_R].tolist(), strict=True)
        data = looked_up([self._domains[domain].file(file) for domain, file in file_R], from_R, bytes_R)
        joined = self._pieces(data, begun_R, final_R, from_R, bytes_R, self._stop_S[final_R] < last_R)
        return near_R, np.frombuffer(joined, self._dtype).reshape(len(data), length)

    def _pieces(
        self, data: Sequence[bytes], begun_R: I64, final_R: I64, from_R: I64, bytes_R: I64, ended_R: NDArray[np.bool_]
    ) -> bytes:
        """What the windows have of their data, one after the other. `ended_R`: whether the last piece of each has its
        end."""
        number_R, upto_R = final_R - begun_R + 1, np.cumsum(bytes_R)
        last_R = np.cumsum(number_R) - 1
        row_P = np.repeat(np.arange(len(data)), number_R)
        piece_P = np.arange(len(row_P)) + (final_R - last_R)[row_P]
        shift_P = (upto_R - bytes_R - from_R)[row_P]
        low_P, high_P = self._low_S[piece_P] + shift_P, self._high_S[piece_P] + shift_P
        low_P[last_R - number_R + 1], high_P[last_R] = upto_R - bytes_R, upto_R
        view, bounds = memoryview(b"".join(data)), zip(low_P.tolist(), high_P.tolist(), strict=True)
        if self._ends is None:
            return b"".join([view[low:high] for low, high in bounds])  # a view, for a copy of each would take as long
        ended_P = np.ones(len(row_P), np.bool_)
        ended_P[last_R] = ended_R
        ends, pieces = (b"", self._ends), zip(bounds, ended_P.tolist(), strict=True)
        return b"".join(chain.from_iterable([(view[low:high], ends[end]) for (low, high), end in pieces]))


def looked_up(file_R: Sequence[FlatFile], from_R: I64, bytes_R: I64) -> list[bytes]:
    """So many bytes of each file. Written out, since a call for each takes a tenth of the time of a short window."""
    begins, counts = from_R.tolist(), bytes_R.tolist()
    try:
        data = list(map(os.pread, [file.descriptor for file in file_R], counts, begins))
    except OSError:
        data = []
    if list(map(len, data)) != counts:
        return [file.bytes_at(begin, count) for file, begin, count in zip(file_R, begins, counts, strict=True)]
    return data


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
