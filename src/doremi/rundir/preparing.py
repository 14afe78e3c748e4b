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


def shards_of(layout: Layout, before: Shards | None = None) -> Shards | None:
    """The jobs of a preparation; None where it has one, or has come to its end meanwhile, by another run's doing.

    Of a thousand, those that were done `before` are not looked at again.
    """
    if not layout.shared_out or (layout.folder / "manifest.json").exists():
        return None
    specs = _specs(layout) if before is None else before.shards
    done = set() if before is None else set(before.done)
    pairs = zip(layout.shards, specs, strict=True)
    done.update(spec.key for shard, spec in pairs if spec.key not in done and layout.is_done(shard))
    return Shards(specs, frozenset(done))


def _specs(layout: Layout) -> tuple[ShardSpec, ...]:
    return tuple(ShardSpec(layout.shard_key(one), layout.corpus, one.name, one.bytes) for one in layout.shards)
