"""A preparation in shards: the bytes that one process made before there were any, whoever does them and when."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from doremi.corpus import encoding
from doremi.corpus.duplicates import DigestSet
from doremi.corpus.key import corpus_key
from doremi.corpus.parts import PrepareRequest
from doremi.corpus.prepare import begin_shards, complete, prepare, work_for
from doremi.corpus.shards import cut, rows
from doremi.corpus.shards.join import Replay
from doremi.corpus.shards.layout import Layout, Shard
from doremi.corpus.shards.rows import FIRST, ROW, TEXT
from doremi.corpus.shards.write import Desk
from doremi.errors import DataError, Interrupted
from doremi.files import size_in_words
from doremi.pipeline.shards import how_long
from prepared import KINDS, checksum, plain

BEFORE = {  # recorded with the preparation that knew no shards
    "plain": "06873124855e2a502841e65d342cff03e413104d9b762b1641770a75205af967",
    "dropped": "a9029847c155fe91e2d947435788833f726dff6292d563c9856721be967c4015",
    "skipped": "dc73a6e02cf83ce2acf0c239fd442ea711c1c851da0490c90b5aae580586e055",
    "sampled": "bfe73b8d3e8d24df428739035dc352c69f446ef921d48134a1c69cff18906284",
    "parted": "342e77972354af70d877779829eff7677eb89998efcbb0f37275ee36a7fee343",
    "tables": "39f1bdddf45911bf5f218495b310f6ee9b1c2ab894d797326f9794a320b8824d",
    "tokens": "816e9713032d870fdc46d694a69fd3e1e3e182a20b88e09e30a8d2e67d6886d0",
    "tokens dropped": "21273e0dcdc48d59fe94293ec1d1b353b9bf9e06bc3953bc456e3f33a28dfa0e",
    "tokens sampled": "7a68d4b39986cda05871a590bb400b9cb47b09d0b586cac023851cfc54689c86",
}
QUICK = ("dropped", "tables")


def begun(request: PrepareRequest, folder: Path) -> Layout:
    with work_for(request, folder) as work:
        return begin_shards(work)


def write(request: PrepareRequest, folder: Path, shard: Shard) -> None:
    """As another process would: it knows what is on the disk."""
    with work_for(request, folder) as work:
        Desk(begin_shards(work), work).write(shard)


def times(layout: Layout) -> dict[str, int]:
    """When each finished shard was written."""
    return {shard.name: layout.files_of(shard)[1].stat().st_mtime_ns for shard in layout.shards if layout.record(shard)}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_the_bytes_of_one_process(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one process, and as many shards, the last one first, each by somebody who knows nothing of the others."""
    prepare(KINDS[kind](tmp_path / "source"), tmp_path / "one")
    assert checksum(tmp_path / "one") == BEFORE[kind]
    monkeypatch.setattr(cut, "SHARD_BYTES", 1500)
    monkeypatch.setattr(rows, "_AT_ONCE", 7)
    monkeypatch.setattr(encoding, "CHUNK", 900)
    request = KINDS[kind](tmp_path / "again")
    layout = begun(request, tmp_path / "many")
    assert len(layout.shards) >= (2 if kind == "parted" else 15)  # what is parted is packed, and read from its start
    for shard in reversed(layout.shards):
        write(request, tmp_path / "many", shard)
    with work_for(request, tmp_path / "many") as work:
        complete(work, begin_shards(work))
    assert checksum(tmp_path / "many") == BEFORE[kind]
    assert not (tmp_path / "many" / ".shards").exists()


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of a shard, one of the others damaged: these two are written, and the rest is taken."""
    monkeypatch.setattr(cut, "SHARD_BYTES", 1500)
    request, folder = plain(tmp_path / "source"), tmp_path / "corpus"
    layout = begun(request, folder)
    for shard in layout.of("web"):
        write(request, folder, shard)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    news = layout.of("news")[2]
    with work_for(request, folder, stop=stop) as work, pytest.raises(Interrupted):
        Desk(begin_shards(work), work).write(news)
    assert layout.record(news) is None
    assert not [path for path in layout.place("news").iterdir() if path.name.startswith((".2", "2."))]
    damaged = layout.files_of(layout.of("web")[1])
    os.truncate(damaged[0], 10)
    before = times(layout)
    assert len(before) == len(layout.of("web")) - 1
    assert [shard.name for shard in layout.shards if not layout.is_done(shard)][:2] == ["web/1", "news/0"]
    for shard in layout.shards:
        write(request, folder, shard)
    after = times(layout)
    assert {name for name in after if after[name] != before.get(name)} == after.keys() - before.keys()
    with work_for(request, folder) as work:
        complete(work, begin_shards(work))
    assert checksum(folder) == BEFORE["plain"]


def test_a_domain_that_is_whole_needs_its_shards_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "SHARD_BYTES", 1500)
    request, folder = plain(tmp_path / "source"), tmp_path / "corpus"
    layout = begun(request, folder)

    def stop() -> bool:
        return (folder / "news" / "train.bin").exists()

    with work_for(request, folder, stop=stop) as work, pytest.raises(Interrupted):
        complete(work, begin_shards(work))
    whole = {shard.domain for shard in layout.shards if layout.is_done(shard)}
    assert whole == {"web", "news"}
    assert not list(layout.place("web").glob("*.rows"))
    published = (folder / "web" / "train.bin").stat().st_mtime_ns
    prepare(request, folder)
    assert (folder / "web" / "train.bin").stat().st_mtime_ns == published
    assert checksum(folder) == BEFORE["plain"]


def test_files_that_are_somewhere_else_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their key is the same, for they were moved as a whole: but nobody reads them where they were."""
    monkeypatch.setattr(cut, "SHARD_BYTES", 1500)
    request, folder = plain(tmp_path / "source"), tmp_path / "corpus"
    layout = begun(request, folder)
    write(request, folder, layout.shards[0])
    (tmp_path / "source").rename(tmp_path / "moved")

    def there(patterns: Sequence[str]) -> list[str]:
        return [pattern.replace("/source/", "/moved/") for pattern in patterns]

    domains = {
        name: replace(source, train=there(source.train), validation=there(source.validation))
        for name, source in request.domains.items()
    }
    moved = replace(request, domains=domains)
    assert corpus_key(moved) == layout.corpus
    prepare(moved, folder)
    assert checksum(folder) == BEFORE["plain"]


def test_how_long_tokens_take_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are left, with as many processes as there are. Text has a bar, whose rate is soon known."""
    monkeypatch.setattr(cut, "SHARD_BYTES", 1500)
    request, folder = KINDS["tokens"](tmp_path / "source"), tmp_path / "corpus"
    layout = begun(request, folder)
    of_tokens = [shard for shard in layout.shards if shard.domain != "text"]
    size, seconds = layout.decoding()
    assert size == sum(shard.bytes for shard in of_tokens)
    assert 0 < seconds < 60
    told = r"shards: (.*) of token files are decoded once, .* With 2 processes that takes about .* s"
    words = re.fullmatch(told, str(how_long(layout, 2)))
    assert words is not None
    assert words[1] == size_in_words(size)
    write(request, folder, of_tokens[0])
    left, shorter = layout.decoding()
    assert left == size - of_tokens[0].bytes
    assert shorter < seconds
    assert how_long(begun(plain(tmp_path / "plain"), tmp_path / "other"), 2) is None


# -- the cut ---------------------------------------------------------------------------------------------------------


def none(number: int, parts: int) -> list[tuple[cut.Part, int]]:
    return []


def test_small_files_go_together_and_large_ones_alone() -> None:
    found = cut._cut("a", [3, 3, 3, 100, 5, 5], 10, none)
    assert [(shard.first, shard.last, shard.bytes) for shard in found] == [(0, 3, 9), (3, 4, 100), (4, 6, 10)]
    assert [shard.name for shard in found] == ["a/0", "a/1", "a/2"]


def test_a_large_file_is_cut() -> None:
    def split(number: int, parts: int) -> list[tuple[cut.Part, int]]:
        return [((i, i + 1), 10) for i in range(parts)]

    found = cut._cut("a", [3, 30, 4], 10, split)
    assert [(shard.first, shard.last, shard.part) for shard in found] == [
        (0, 1, None), (1, 2, (0, 1)), (1, 2, (1, 2)), (1, 2, (2, 3)), (2, 3, None),
    ]  # fmt: skip


def test_of_one_gigabyte_all_shards_are_alike() -> None:
    """Not seven of full size and a small one, for which the last core would wait."""

    def split(number: int, parts: int) -> list[tuple[cut.Part, int]]:
        bounds = [1050 * i // parts for i in range(parts + 1)]
        return [((a, b), b - a) for a, b in pairwise(bounds)]

    assert {shard.bytes for shard in cut._cut("a", [1050], 100, split)} <= {95, 96}


def test_row_groups_of_very_different_sizes() -> None:
    parts = cut._by_sizes(np.array([1, 1, 100, 1, 1, 50]), 3, 154)
    assert [part for part, _ in parts] == [(0, 3), (3, 4), (4, 6)]
    assert sum(size for _, size in parts) <= 154


# -- the replay ------------------------------------------------------------------------------------------------------


def listed(*documents: tuple[int, int]) -> np.ndarray:
    """A document for each (digest, number of its rows)."""
    found = np.zeros(sum(number for _, number in documents), ROW)
    at = 0
    for digest, number in documents:
        found["digest"][at : at + number] = digest
        found["flags"][at : at + number] = TEXT
        found["flags"][at] |= FIRST
        found["excluded"][at] = 1
        at += number
    return found


@pytest.mark.parametrize("drop", [False, True])
def test_documents_that_come_again(drop: bool) -> None:
    """Within a shard, in a later one, and in an earlier domain; counted once, within goes first."""
    replay = Replay(DigestSet(np.array([5, 9], np.uint64)), drop=drop)
    kept = [replay.kept(listed((1, 2), (5, 1), (1, 2), (2, 1))), replay.kept(listed((2, 1), (5, 2), (3, 1)))]
    stays = [[1, 1, 0, 0, 0, 1], [0, 0, 0, 1]] if drop else [[1] * 6, [1] * 4]
    assert [one.tolist() for one in kept] == [list(map(bool, one)) for one in stays]
    found = replay.found
    assert (found.within, found.across, found.dropped) == (3, 1, 4 if drop else 0)
    assert found.excluded == (3 if drop else 7)
    assert replay.own.values().tolist() == [1, 2, 3, 5]


def test_too_little_is_said_before_the_next_domain_is_read(tmp_path: Path) -> None:
    request, told = plain(tmp_path / "source"), list[str]()
    few = replace(request, sequence_length=10**6)
    with pytest.raises(DataError, match="domain 'web' has 3,"):
        prepare(few, tmp_path / "corpus", progress=lambda what, done, total: told.append(what))
    assert told == ["web"]
