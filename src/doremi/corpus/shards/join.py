"""A domain from its shards, in the order of its files: which duplicate stays, its counts, its token files.

This is the replay that makes the result the same for any number of shards at a time: what came before is known here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.checks import Limits, check_domain
from doremi.corpus.duplicates import DigestSet, load, save
from doremi.corpus.manifest import SplitCounts, split_counts
from doremi.corpus.parts import Counts
from doremi.corpus.shards.layout import Shard
from doremi.corpus.shards.rows import ENDED, FIRST, TEXT, read_rows
from doremi.corpus.shards.write import Desk
from doremi.corpus.store import SegmentWriter, SplitWriter, disk_errors, expected_size
from doremi.corpus.tokenized.documents import Side
from doremi.corpus.tokenized.layout import FileError, refused
from doremi.corpus.tokenized.reading import Wanted, whole_side
from doremi.corpus.tokenized.writing import in_place, places
from doremi.errors import DoremiError, Interrupted
from doremi.files import FORMAT, key_of, read_json, write_json
from doremi.mixture.domains import folder_name

_BLOCK = 1 << 22  # bytes that are copied at a time
Entry = dict[str, Any]
Told = Callable[[int], None]


class Joined(SplitWriter):
    """The training split of a domain, whose tokens are encoded already."""

    def copy(self, file: IO[bytes], start: int, end: int) -> None:
        """Bytes of a shard's tokens."""
        file.seek(start)
        while start < end:
            data = file.read(min(_BLOCK, end - start))
            if not data:
                raise EOFError
            self._tokens.write(data)
            start += len(data)

    def add_rows(self, rows: NDArray[Any]) -> None:
        """What has been copied: texts in their order."""
        counts, ends = self.counts, np.cumsum(rows["tokens"], dtype=np.uint64)
        self._ends.write((ends + np.uint64(counts["tokens"])).astype("<u8").tobytes())
        counts["documents"] += len(rows)
        for name in ("bytes", "tokens", "unknown"):
            counts[name] += int(rows[name].sum())
        self.longest = max(self.longest, int(rows["tokens"].max(initial=0)))


class Replay:
    """Goes through the documents of a domain. `seen`: those of the domains before it."""

    def __init__(self, seen: DigestSet, *, drop: bool) -> None:
        self.seen, self.own, self.drop, self.found = seen, DigestSet(), drop, Counts()

    def kept(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Of each row, whether its document stays."""
        is_first = (rows["flags"] & FIRST) > 0
        digests = rows["digest"][is_first]
        values, new = np.unique(digests, return_index=True)
        within = self.own.holds(digests)
        repeated = np.ones(len(digests), np.bool_)
        repeated[new] = False
        within |= repeated
        across = self.seen.holds(digests) & ~within
        self.own.add_all(values)
        stays = ~(within | across) if self.drop else np.ones(len(digests), np.bool_)
        found = self.found
        found.within += int(within.sum())
        found.across += int(across.sum())
        found.dropped += int((~stays).sum())
        found.excluded += int(rows["excluded"][is_first][stays].sum())
        return stays[np.cumsum(is_first) - 1]


# -- a domain --------------------------------------------------------------------------------------------------------


def finished(desk: Desk, domain: str, seen: DigestSet) -> Entry | None:
    """The record of a domain that is whole already; None where it is not, or not this one."""
    folder = desk.layout.folder
    place = folder / folder_name(domain)
    try:
        found = read_json(place / "domain.json", "finished domain")
        if found["key"] != _key(desk, seen) or not (place / "documents.u64").exists():
            return None
        for split in ("train", "validation"):
            counts = split_counts(found["counts"][split])
            for name in counts.files:
                if (folder / name).stat().st_size != expected_size(Path(name), counts, desk.itemsize):
                    return None
    except (DoremiError, OSError):
        return None
    return found


def _key(desk: Desk, seen: DigestSet) -> str:
    return key_of([desk.layout.key, hashlib.sha256(seen.values().tobytes()).hexdigest()])


def digests_of(desk: Desk, domain: str) -> DigestSet:
    """The documents of a domain that is whole, for the domains after it."""
    return load(desk.layout.folder / folder_name(domain) / "documents.u64")


def join(desk: Desk, domain: str, seen: DigestSet, progress: Told) -> Entry:
    """Write the files of a domain whose shards are done; its record. `progress` hears of bytes of rows and tokens.

    `DataError` where too little is left of it to train on.
    """
    place = desk.layout.folder / folder_name(domain)
    replay = Replay(seen, drop=desk.work.request.drop_duplicates)
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        (place / "domain.json").unlink(missing_ok=True)
        for left_over in place.glob(".*.tmp"):  # of a preparation that was killed
            left_over.unlink()
    _count(desk, domain, replay.found)
    wanted = desk.wanted(domain)
    if wanted is None:
        counts, longest = _join_text(desk, domain, place, replay, progress)
        more: Entry = {}
    else:
        counts, longest, more = _join_tokens(desk, domain, place, replay, wanted, progress)
    with disk_errors(place):
        for name in desk.domain(domain).validation["files"]:
            _copy(desk.layout.place(domain) / Path(name).name, place / Path(name).name)
        entry = _entry(desk, domain, counts, replay.found, more)
        remarks: Entry = {"longest": longest, "special": replay.found.special}
        if wanted is not None:
            remarks["notes"] = list(desk.domain(domain).notes)
        found = {"key": _key(desk, seen), "layout": desk.layout.key, "counts": entry, "remarks": remarks}
        found |= {"places": more["places"]} if more else {}
        save(replay.own, place / "documents.u64")
        write_json(place / "domain.json", {"format": FORMAT, **found})
    return found


def _count(desk: Desk, domain: str, found: Counts) -> None:
    """What the shards have counted, and who drew the sample."""
    record = desk.domain(domain)
    found.bad.update(record.bad)
    found.left_out.update(record.left_out)
    for shard in desk.layout.of(domain):
        one = desk.layout.record(shard)
        assert one is not None, "shards are done before they are joined"
        found.empty += one.empty
        found.special += one.special
        found.bad.update(one.bad)
        found.left_out.update(one.left_out)


def _entry(desk: Desk, domain: str, train: Entry, found: Counts, more: Entry) -> Entry:
    """The domain's part of the manifest."""
    record = desk.domain(domain)
    own = {} if record.given else record.validation
    train["skipped"] = found.empty + found.excluded + found.dropped
    size = train["tokens"] + own.get("tokens", 0)
    entry = {"tokens": size, "found": found.record(), "train": train, "validation": dict(record.validation)}
    return {**entry, **({"in_place": more["in_place"]} if more else {})}


def _check(desk: Desk, domain: str, counts: Entry, found: Counts) -> None:
    record, request = desk.domain(domain), desk.work.request
    if not record.given:
        found.excluded -= record.validation["documents"]  # what is held out of this domain, once each, is no loss
    limits = Limits(request.sequence_length, request.max_unknown)
    check_domain(domain, SplitCounts(tokens=counts["tokens"], unknown=counts["unknown"]), found.excluded, limits)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)


# -- the training split ----------------------------------------------------------------------------------------------


def _join_text(desk: Desk, domain: str, place: Path, replay: Replay, progress: Told) -> tuple[Entry, int]:
    """Counts of the training split, and the tokens of its longest text."""
    with disk_errors(place):
        writer = Joined(place, "train", desk.tokenizer.dtype)
    with _discarded(writer):
        for shard in desk.layout.of(domain):
            path = desk.layout.files_of(shard)[0]
            with path.open("rb") if path.exists() else BytesIO() as tokens:
                start = 0
                for rows in _rows(desk, shard, progress):
                    kept = replay.kept(rows)
                    ends = start + np.cumsum(rows["tokens"].astype(np.int64) * desk.itemsize)
                    for first, last in _runs(kept):
                        writer.copy(tokens, start if first == 0 else int(ends[first - 1]), int(ends[last - 1]))
                    writer.add_rows(rows[kept & ((rows["flags"] & TEXT) > 0)])
                    start = int(ends[-1])
        _check(desk, domain, writer.counts, replay.found)
        return _closed(writer, place), writer.longest


def _join_tokens(
    desk: Desk, domain: str, place: Path, replay: Replay, wanted: Wanted, progress: Told
) -> tuple[Entry, int, Entry]:
    """The same, and what the manifest says of the user's files, of which all tokens are read once more."""
    side = whole_side(wanted, list(desk.domain(domain).files))
    with disk_errors(place):
        writer = SegmentWriter(place, desk.tokenizer.dtype, wanted.end)
    with _discarded(writer), _Opened(side) as opened:
        for shard in desk.layout.of(domain):
            for rows in _rows(desk, shard, progress):
                for row in rows[replay.kept(rows) & ((rows["flags"] & TEXT) > 0)]:
                    file, offset = int(row["file"]), int(row["offset"])
                    ids = opened.read(file, offset, int(row["tokens"]))
                    ended = bool(row["flags"] & ENDED)
                    writer.add(file, offset, ids, text_bytes=int(row["bytes"]), ended=ended)
                    writer.counts["unknown"] += int(row["unknown"])
        _check(desk, domain, writer.counts, replay.found)
        counts = _closed(writer, place)
    more = {
        "in_place": in_place(side.layouts, wanted.end, writer.stream),
        "places": places(side.layouts, desk.layout.folder),
    }
    return counts, writer.longest, more


def _rows(desk: Desk, shard: Shard, progress: Told) -> Iterator[NDArray[Any]]:
    for rows in read_rows(desk.layout.files_of(shard)[1]):
        if desk.work.stop():
            raise Interrupted("stopped while the corpus was put together")
        yield rows
        progress(rows.nbytes + int(rows["tokens"].sum()) * desk.itemsize)


def _runs(kept: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """From where up to where all are kept."""
    bounds = [0, *(np.flatnonzero(kept[1:] != kept[:-1]) + 1).tolist(), len(kept)]
    return ((first, last) for first, last in pairwise(bounds) if kept[first])


class _Opened:
    """The user's files of a domain of tokens, the one open that was read last."""

    def __init__(self, side: Side) -> None:
        self._side, self._number, self._descriptor = side, -1, -1

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, file: int, offset: int, tokens: int) -> NDArray[np.integer]:
        """Tokens of a file from a byte on; `DataError` where they are not there any more."""
        layout = self._side.layouts[file]
        try:
            if file != self._number:
                self.__exit__()
                self._number, self._descriptor = file, os.open(layout.path, os.O_RDONLY)
            return layout.read(self._descriptor, offset, tokens)
        except (FileError, OSError) as error:
            raise refused(self._side.domain, self._side.files[file].path, error) from None


@contextmanager
def _discarded(writer: Joined | SegmentWriter) -> Iterator[None]:
    """What goes wrong leaves nothing behind."""
    try:
        yield
    finally:
        writer.discard()


def _closed(writer: Joined | SegmentWriter, place: Path) -> Entry:
    counts = writer.close(place.name)
    with disk_errors(place):
        writer.publish()
    return counts
