"""A part of the corpus as a job of a run, and how many such jobs go on at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from doremi.corpus import library
from doremi.corpus.prepare import work_for
from doremi.corpus.shards.layout import FOLDER, Layout, Shard, read_layout
from doremi.corpus.shards.write import Desk
from doremi.corpus.store import disk_errors
from doremi.errors import RunError
from doremi.events.event import Finished, Reading, Started
from doremi.events.words import duration
from doremi.files import size_in_words
from doremi.pipeline.workspace import Workspace
from doremi.rundir.data_request import prepare_request
from doremi.rundir.lock import Lock, Taken, waiting
from doremi.rundir.specs import ShardSpec

POOL = 5  # processes that one reading process keeps busy with encoding, about
SLACK = 1.25  # how much longer shards may take than that, for they know less of each other and so can go on


def write_shard(space: Workspace, spec: ShardSpec, job: str) -> None:
    """Do one shard, in this process. Of two runs that want the same, one does it and the other waits.

    Where the corpus is whole before the shard is, there is nothing left to do.

    `RunError` where the corpus is being prepared anew since, with other shards.
    """
    folder = library.place(Path(space.config.runs), spec.corpus)
    watch, request = space.watch, replace(prepare_request(space.config), workers=1)

    def tell(what: str, done: int, total: int) -> None:
        watch.emit(Reading(job, what, done, total))

    with work_for(request, folder, key=spec.corpus, progress=tell, stop=watch.stop_requested) as work:
        layout = read_layout(folder, spec.corpus)
        shard = None if layout is None else layout.find(spec.name)
        if layout is None or shard is None or layout.shard_key(shard) != spec.key:
            if library.find(folder, spec.corpus) is not None:
                return
            raise RunError(f"{folder}: the corpus is being prepared anew, without {job}; run the same command again")
        watch.emit(Started(job))
        try:
            _in_turn(space, layout, shard, Desk(layout, work), job)
        except RunError:
            if library.find(folder, spec.corpus) is None:
                raise
            return  # another run has put the corpus together meanwhile, and its shards are gone
        watch.emit(Finished(job, 0.0))


def _in_turn(space: Workspace, layout: Layout, shard: Shard, desk: Desk, job: str) -> None:
    base = layout.folder / FOLDER / "locks" / shard.name.replace("/", ".")

    def tell(taken: Taken) -> None:
        space.watch.say(f"{job}: {taken.who} is doing this for another run. Waiting for it{taken.gone}.")

    with disk_errors(base), waiting(Lock(layout.folder, base, space.watch.say).alone, tell, space.watch.stop_requested):
        desk.write(shard)


def how_long(layout: Layout, places: int) -> str | None:
    """What is to be known before files of tokens are decoded; None where there are none, or no more."""
    size, seconds = layout.decoding()
    if not size:
        return None
    processes = f"{places} processes" if places > 1 else "one process"
    return (
        f"shards: {size_in_words(size)} of token files are decoded once, to hash their documents. With {processes} "
        f"that takes about {duration(seconds / places)}"
    )


def places_for(sizes: Sequence[int], cores: int) -> int:
    """How many shards of these sizes are written at once; 1 where one process with an encoder a core is sooner done.

    So it is where a few files are most of the text, and cannot be cut.
    """
    places = min(cores, len(sizes))
    ends = [0] * max(1, places)
    for size in sizes:
        heapq.heapreplace(ends, ends[0] + size)
    return places if max(ends) <= SLACK * sum(sizes) / max(1, min(cores, POOL)) else 1
