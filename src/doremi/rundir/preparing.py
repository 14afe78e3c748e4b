"""The preparation of a run's corpus that is under way, as far as its jobs see it."""

from __future__ import annotations

from pathlib import Path

from doremi.config import RunConfig
from doremi.corpus import library
from doremi.corpus.key import corpus_key
from doremi.corpus.shards.layout import Layout, read_layout
from doremi.errors import DoremiError
from doremi.rundir.data_request import prepare_request
from doremi.rundir.known import Shards
from doremi.rundir.specs import ShardSpec


def shards_of_run(config: RunConfig) -> Shards | None:
    """None before the shards of the corpus are known, and where it is prepared in one job."""
    if config.data.corpus is not None:
        return None
    try:
        key = corpus_key(prepare_request(config))
    except DoremiError:  # its sources are gone
        return None
    layout = read_layout(library.place(Path(config.runs), key), key)
    return None if layout is None else shards_of(layout)


def shards_of(layout: Layout) -> Shards | None:
    """The jobs of a preparation; None where it has one, or has come to its end meanwhile, by another run's doing."""
    if not layout.shared_out or (layout.folder / "manifest.json").exists():
        return None
    keys = {shard.name: layout.shard_key(shard) for shard in layout.shards}
    specs = tuple(ShardSpec(keys[shard.name], layout.corpus, shard.name, shard.bytes) for shard in layout.shards)
    return Shards(specs, frozenset(keys[shard.name] for shard in layout.shards if layout.is_done(shard)))
