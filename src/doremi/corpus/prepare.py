"""From files of text to a corpus folder: tokenizer, validation split, token files, manifest. See docs/formats.md.

    begin      what is held out of all domains, and the list of shards
    shards     each writes its documents as tokens, knowing nothing of the others
    complete   each domain from its shards, in the order of its files

Here one process does all of it. Others may do shards at the same time (shards/). The same bytes come out for any number
of processes and any order. A domain is published when it is complete; the manifest comes last. What was interrupted
keeps its finished shards and domains, if nothing about them has changed, and does the others again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doremi.corpus.bpe import Progress as TrainingProgress
from doremi.corpus.duplicates import DigestSet
from doremi.corpus.key import corpus_key
from doremi.corpus.parting import FOLDER as PARTED
from doremi.corpus.parts import PrepareRequest, Stop
from doremi.corpus.sampling import Drawing
from doremi.corpus.shards import join
from doremi.corpus.shards.begin import begin
from doremi.corpus.shards.layout import FOLDER, Layout
from doremi.corpus.shards.work import Progress, Work
from doremi.corpus.shards.write import Desk
from doremi.corpus.source_record import record_sources
from doremi.corpus.sources import find_all
from doremi.corpus.store import disk_errors
from doremi.corpus.tokenized.opening import SCANS
from doremi.corpus.tokenizer import TextTokenizer
from doremi.corpus.value import IN_PLACE, Corpus
from doremi.errors import DataError, Interrupted, RunError
from doremi.files import FORMAT, key_of, write_json
from doremi.mixture.domains import DomainSet, folder_name

_RESERVED = (  # what lies in the corpus folder beside the domains
    "corpus.lock", "corpus.owner", "data.json", "kept", "manifest.json", "scans", "sources.json", "tokenizer",
    "where.json",
)  # fmt: skip
_JOINED_EVERY = 1 << 26  # bytes of tokens between two calls of `progress`: they take a fraction of a second


def prepare(
    request: PrepareRequest,
    folder: Path,
    *,
    key: str | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    training: TrainingProgress | None = None,
) -> Corpus:
    """Write the corpus folder and return it; the manifest appears last.

    `key` is the corpus's (key.py), if the caller knows it already. Files that change meanwhile are a `DataError`.
    `progress(what, done, total)` is called about every megabyte with bytes of source files, as they lie on the disk:
    `what` is a domain, or whose held-out text is looked for (there `total` is the most that has to be read).
    `training(step, share)` is told how far the training of a tokenizer is, from 0 to 1. `stop()` is asked at every
    document and while a tokenizer is trained, and `Interrupted` is raised soon after it says True. `DataError` for the
    user's files, `ConfigError` for the tokenizer, `RunError` where `folder` cannot be written.
    """
    with work_for(request, folder, key=key, progress=progress, stop=stop, training=training) as work:
        return complete(work, begin_shards(work))


def work_for(
    request: PrepareRequest,
    folder: Path,
    *,
    key: str | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    training: TrainingProgress | None = None,
) -> Work:
    """A preparation to be done, all or in part, as `prepare` describes it."""
    for name in DomainSet(request.domains):
        if folder_name(name).casefold() in _RESERVED:
            raise DataError(f"domain name {name!r} is the name of a file of the corpus folder; rename the domain")
    progress = progress or (lambda what, done, total: None)
    return Work(request, folder, key or corpus_key(request), progress, stop or (lambda: False), training)


def begin_shards(work: Work) -> Layout:
    """What comes before the shards, and which they are. What an earlier process has done is taken."""
    with _stopped_first(work):
        return begin(work)


def complete(work: Work, layout: Layout) -> Corpus:
    """The corpus from its shards; those that nobody has done are done here."""
    with _stopped_first(work):
        domains = dict(_domains(work, layout))
    with disk_errors(work.folder):
        found, desk = find_all(work.request.domains), Desk(layout, work)
        records = {name: desk.domain(name) for name in work.request.domains}
        in_part = [name for name, one in records.items() if one.sample is not None or "places" in domains[name]]
        record_sources(work.folder, found, sampled=in_part, of_no_domain=layout.of_no_domain)
        if corpus_key(work.request) != work.key:
            raise DataError("the files of the domains changed while they were read; run the same command again")
        samples = {name: one.sample for name, one in records.items() if one.sample is not None}
        places = {name: one["places"] for name, one in domains.items() if "places" in one}
        remarks = {name: one["remarks"] for name, one in domains.items()}
        entries = {name: {"folder": folder_name(name), **one["counts"]} for name, one in domains.items()}
        beside = {"samples": samples, "places": places}  # no part of the identity: the text is
        told = {**{name: value for name, value in beside.items() if value}, "remarks": remarks, "key": work.key}
        write_json(work.folder / "manifest.json", {**_manifest(desk.tokenizer, entries), **told})
        _tidy(work)
    return Corpus.read(work.folder)


def _domains(work: Work, layout: Layout) -> Iterator[tuple[str, dict[str, Any]]]:
    """The record of each domain, one after the other: from an earlier, interrupted preparation, or made now."""
    seen, before, desk = DigestSet(), 0, Desk(layout, work)
    for name in work.request.domains:
        shards = layout.of(name)
        found = join.finished(desk, name, seen)
        if found is None:
            done = before
            for shard in shards:
                desk.write(shard, done, layout.bytes)
                done += shard.bytes
            found = join.join(desk, name, seen, _copied(work, desk, name))
        layout.forget(name)
        before += sum(shard.bytes for shard in shards)
        seen.update(join.digests_of(desk, name))
        yield name, found


def _copied(work: Work, desk: Desk, name: str) -> join.Told:
    """Tells how much of a large domain is put together."""
    total, done, reported = desk.layout.handed_in(name), 0, 0

    def tell(size: int) -> None:
        nonlocal done, reported
        done += size
        if done - reported >= _JOINED_EVERY:
            reported = done
            work.progress(f"{name}, put together", done, total)

    return tell


@contextlib.contextmanager
def _stopped_first(work: Work) -> Iterator[None]:
    """A signal to the whole group ends encoders too, and they are not to blame."""
    try:
        yield
    except RunError:
        if work.stop():
            raise Interrupted("stopped while preparing the corpus") from None
        raise


def _tidy(work: Work) -> None:
    """Remove what only an interrupted preparation would have needed."""
    drawing = Drawing(work.folder, None, work.stop)
    for name in work.request.domains:
        drawing.forget(name)
        for file in ("domain.json", "documents.u64"):
            (work.folder / folder_name(name) / file).unlink(missing_ok=True)
    for left in (PARTED, SCANS, FOLDER):
        shutil.rmtree(work.folder / left, ignore_errors=True)
    for left_over in work.folder.rglob(".*.tmp"):  # of processes that were killed
        left_over.unlink()


def _manifest(tokenizer: TextTokenizer, entries: dict[str, Any]) -> dict[str, Any]:
    described = {
        "sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "end_of_text_id": tokenizer.end_of_text_id,
    }
    format_ = IN_PLACE if any("in_place" in entry for entry in entries.values()) else FORMAT
    body = {"format": format_, "tokenizer": described, "dtype": tokenizer.dtype, "domains": entries}
    # `source` may be a path of this machine: it is told, but is no part of the identity. The order of the domains is.
    fingerprint = key_of({**body, "domains": list(entries.items())})
    return {**body, "tokenizer": {"source": tokenizer.source, **described}, "fingerprint": fingerprint}
