"""Which shards a corpus has: runs of small files, large files alone, parts of what can be read in parts.

Only the files decide. So the shards are the same wherever they are done, and however many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from doremi.corpus.parts import DomainPlan
from doremi.corpus.patterns import File
from doremi.corpus.shards.layout import Shard
from doremi.corpus.tables import parquet_footer
from doremi.corpus.tokenized.reading import Reading
from doremi.corpus.unpack import is_remote

SHARD_BYTES = 64 << 20  # of source files: some twenty seconds of encoding on one core
FEW = 2  # shards: a corpus with no more bytes is prepared by one process, in a minute or two
MOST = 1000  # shards of a corpus, about: Slurm's arrays take no more, and a person reads their list
_LARGE = 1.5  # times the size of a shard: what is larger is cut, where it can be

Part = tuple[int, int]
Split = Callable[[int, int], list[tuple[Part, int]]]
"""Parts of a file, by its number, about so many, each with its bytes; none where it cannot be cut."""


def cut(plans: list[DomainPlan]) -> list[Shard]:
    """All shards, in the order of the domains and of their files."""
    most = max(SHARD_BYTES, sum(_size(plan) for plan in plans) // MOST)
    return [shard for plan in plans for shard in _of(plan, most)]


def is_shared_out(shards: list[Shard]) -> bool:
    """Whether they are worth jobs of their own."""
    return len(shards) > 1 and sum(shard.bytes for shard in shards) > FEW * SHARD_BYTES


def _size(plan: DomainPlan) -> int:
    return sum(plan.tokens.read_bytes if plan.tokens is not None else [file.size for file in plan.files.train])


def _of(plan: DomainPlan, most: int) -> list[Shard]:
    if plan.tokens is not None:
        reading = plan.tokens
        return _cut(plan.name, reading.read_bytes, most, lambda number, parts: _documents(reading, number, parts))
    files = plan.files.train
    return _cut(plan.name, [file.size for file in files], most, lambda number, parts: _text(files[number], parts))


def _cut(domain: str, sizes: list[int], most: int, split: Split) -> list[Shard]:
    """Shards of about equal size, none much larger than `most` where that can be."""
    goal = -(-sum(sizes) // max(1, -(-sum(sizes) // most)))
    found: list[Shard] = []
    first = held = 0

    def add(last: int, size: int, part: Part | None = None, begin: int | None = None) -> None:
        found.append(Shard(domain, len(found), first if begin is None else begin, last, size, part))

    for number, size in enumerate(sizes):
        parts = split(number, -(-size // goal)) if size > _LARGE * goal else []
        if number > first and (parts or held + size > goal):
            add(number, held)
            first, held = number, 0
        if parts:
            for part, of_part in parts:
                add(number + 1, of_part, part)
            first = number + 1
        else:
            held += size
    if first < len(sizes):
        add(len(sizes), held)
    return found


def _text(file: File, parts: int) -> list[tuple[Part, int]]:
    """Lines that begin in equal stretches, or row groups."""
    form = file.format
    if is_remote(file.path) or form is None or form.packing:
        return []
    if form.container == "lines":
        bounds = [file.size * i // parts for i in range(parts + 1)]
        return [((a, b), b - a) for a, b in pairwise(bounds)]
    return _row_groups(file, parts) if form.container == "parquet" else []


def _row_groups(file: File, parts: int) -> list[tuple[Part, int]]:
    footer = parquet_footer(file.path, "")
    sizes = [footer.row_group(i).total_byte_size for i in range(footer.num_row_groups)]
    return _by_sizes(np.array(sizes, np.int64), parts, file.size)


def _documents(reading: Reading, number: int, parts: int) -> list[tuple[Part, int]]:
    table, layout = reading.train.tables(number), reading.train.layouts[number]
    return _by_sizes(table.tokens, parts, int(table.tokens.sum()) * layout.dtype.itemsize)


def _by_sizes(sizes: np.ndarray, parts: int, size: int) -> list[tuple[Part, int]]:
    """Runs of what has these sizes, of about equal size; `size` bytes in all."""
    ends = np.cumsum(sizes)
    if len(sizes) < 2 or not ends[-1]:
        return []
    inner = np.searchsorted(ends, ends[-1] * np.arange(1, parts) / parts, side="left") + 1
    bounds = np.unique([0, *inner[inner < len(sizes)], len(sizes)]).tolist()
    before = np.concatenate([[0], ends])
    return [((a, b), int(size * (before[b] - before[a]) // ends[-1])) for a, b in pairwise(bounds)]
