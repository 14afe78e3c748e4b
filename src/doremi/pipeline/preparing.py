"""The first stage of a run: its corpus is found, or prepared, where any number of runs use it.

The run keeps what judging needs of it. Two processes that want the same corpus take turns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from doremi.config import RunConfig
from doremi.config.prepared import asked, record
from doremi.corpus import library, store
from doremi.corpus.checks import Limits, check
from doremi.corpus.data_table import data_table
from doremi.corpus.kept import check_batches, keep, kept_folder
from doremi.corpus.key import corpus_key
from doremi.corpus.pool import whole
from doremi.corpus.prepare import begin_shards, complete, work_for
from doremi.corpus.shards.layout import Layout
from doremi.corpus.shards.work import Work
from doremi.corpus.source_record import what_no_domain_took, what_was_read
from doremi.corpus.value import Corpus
from doremi.diagnostics.health import few_documents, unknown_share, unknown_tokens
from doremi.events.event import Learning, Reading
from doremi.files import write_bytes, write_json
from doremi.pipeline.workspace import Workspace
from doremi.rundir.corpora import changes, find
from doremi.rundir.data_request import prepare_request
from doremi.rundir.known import CORPUS, PREPARE
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import in_turn
from doremi.rundir.revisions import record as record_revisions
from doremi.rundir.weights import check_limits

Share = Callable[[Layout], None]
"""Has the shards of a large corpus done by others."""
FULL_CHECK_BYTES = 4 * 2**30  # above this, checksums of the token files are verified by `doremi prepare` only


def prepare(
    space: Workspace, *, full_check: bool = False, in_place: bool = False, share: Share | None = None
) -> Corpus:
    """Tokenize the corpus, or check the one that is there; `DamageError` if a file of it has changed.

    `in_place` reads all tokens of files that are used where they lie, which may be terabytes. Without `share` this
    process does all that others have not done."""
    space.world.on_main(lambda: _on_main(space, full_check, in_place, share))
    corpus = trained_on(space.config, space.directory)
    check(corpus, Limits(space.config.data.sequence_length, space.config.data.max_unknown))
    check_limits(space.config, corpus)
    return corpus


def trained_on(config: RunConfig, directory: RunDirectory) -> Corpus:
    """The corpus of a run that is prepared, with what epoch-matched runs keep of it."""
    corpus = directory.whole_corpus().sized(config.data.given)
    if config.kept_share == 1:
        return corpus
    return replace(corpus, kept=Corpus.read(kept_folder(corpus, config.kept_share)))


def _on_main(space: Workspace, full_check: bool, in_place: bool, share: Share | None) -> None:
    """Have the corpus, whole, and the run's part of it."""
    found = find(space.config)
    if found is not None and (warning := changes(space.config, found)) is not None:
        space.watch.say(f"warning: {warning}")
    corpus = found or _made(space, share).sized(space.config.data.given)
    _take(space, corpus, full_check=full_check, in_place=in_place and found is not None, is_new=found is None)


def _take(space: Workspace, corpus: Corpus, *, full_check: bool, in_place: bool, is_new: bool) -> None:
    """Check a corpus, and keep the run's part of it."""
    full = full_check or sum(corpus.count("train", "tokens")) * 2 < FULL_CHECK_BYTES
    store.verify(corpus, full=full, in_place=in_place)
    with space.locks.records():
        library.take(corpus, space.directory.corpus_folder, asked(space.config.data), full_check=full)
        manifest = space.directory.manifest()
        if manifest["fingerprint"] != corpus.fingerprint:
            write_json(space.root / "manifest.json", {**manifest, "fingerprint": corpus.fingerprint})
    if is_new:
        _say_what_was_read(space, corpus, table=not full_check)
    if full_check or is_new:
        _say_if_few(space, corpus)
    _keep(space, corpus, full)


def begin(space: Workspace) -> Layout | None:
    """What comes before the shards of a large corpus, and which they are; None where the corpus is there then."""
    if find(space.config) is not None:
        return None
    found = _begun(space)
    if isinstance(found, Layout):
        return found
    _take(space, found.sized(space.config.data.given), full_check=False, in_place=False, is_new=True)
    return None


def _made(space: Workspace, share: Share | None) -> Corpus:
    """Prepare the corpus, or wait until another process has. A preparation that was killed goes on."""
    found = _begun(space)
    if isinstance(found, Corpus):
        return found
    if share is not None:
        share(found)
    return _completed(space, found)


def _begun(space: Workspace) -> Corpus | Layout:
    """The corpus where it is small, or there; else its shards."""
    record_revisions(space.config)
    request = prepare_request(space.config)
    key = corpus_key(request)
    folder, stop = library.place(Path(space.config.runs), key), space.watch.stop_requested
    was = library.recorded(space.directory.corpus_folder)
    if was is not None and was.asked == asked(space.config.data) and was.key != key:
        space.watch.say(
            "warning: The corpus that this run used is gone, and its text has changed. It is prepared anew."
        )
    with _alone(space, PREPARE, folder):
        if (corpus := library.find(folder, key)) is not None:
            return corpus
        with space.timed(PREPARE):
            record(space.config.data, folder)
            told = {"progress": _reading(space, PREPARE), "stop": stop, "training": _learning(space)}
            return _first_job(work_for(request, folder, key=key, **told))


def _first_job(work: Work) -> Corpus | Layout:
    """All of a small corpus, what comes before the shards of a large one."""
    with work:
        layout = begin_shards(work)
        return layout if layout.shared_out else complete(work, layout)


def _completed(space: Workspace, layout: Layout) -> Corpus:
    """The corpus from its shards."""
    request, stop = prepare_request(space.config), space.watch.stop_requested
    with _alone(space, CORPUS, layout.folder):
        if (corpus := library.find(layout.folder, layout.corpus)) is not None:
            return corpus
        with space.timed(CORPUS):
            told = _reading(space, CORPUS)
            with work_for(request, layout.folder, key=layout.corpus, progress=told, stop=stop) as work:
                return complete(work, layout)


@contextlib.contextmanager
def _alone(space: Workspace, job: str, folder: Path) -> Iterator[None]:
    """Do a job of this run, and be the only one who works on the corpus as a whole."""
    stop = space.watch.stop_requested
    with space.locks.work(job, job, stop), store.disk_errors(folder), in_turn(folder, space.watch.say, stop):
        yield


def _keep(space: Workspace, corpus: Corpus, full_check: bool) -> None:
    """The documents that epoch-matched runs are trained on; `DataError` where they don't fill a batch."""
    config = space.config
    share = config.kept_share
    if share == 1:
        return
    if (kept_folder(corpus, share) / "manifest.json").exists():
        kept = keep(corpus, share, full_check=full_check)
    else:
        kept = _kept(space, corpus, share)
    check_batches(corpus, kept, config.training.batch_size, config.data.sequence_length)
    copy = space.directory.corpus_folder / kept.folder.relative_to(corpus.folder) / "manifest.json"
    if not copy.exists() or copy.read_bytes() != (kept.folder / "manifest.json").read_bytes():
        with space.locks.records():
            write_bytes(copy, (kept.folder / "manifest.json").read_bytes())  # what trainings are named by


def _kept(space: Workspace, corpus: Corpus, share: Fraction) -> Corpus:
    stop = space.watch.stop_requested
    with store.disk_errors(corpus.folder), in_turn(corpus.folder, space.watch.say, stop):
        space.watch.say(f"prepare: {share} of every domain, to repeat it as the final run will")
        return keep(corpus, share, full_check=False, stop=stop)


# -- what is said ----------------------------------------------------------------------------------------------------


def _say_what_was_read(space: Workspace, corpus: Corpus, *, table: bool) -> None:
    """Before the first training; `doremi prepare` ends with the table."""
    if table:
        space.watch.say(f"data, before the first training:\n{data_table(what_was_read(corpus))}")
    if (of_none := what_no_domain_took(corpus)) is not None:
        space.watch.say(of_none)
    shares = {name: unknown_share(entry.train.unknown, entry.train.tokens) for name, entry in corpus.entries.items()}
    warning = unknown_tokens(shares)
    if warning is not None:
        space.watch.say(f"warning: {warning}")


def _say_if_few(space: Workspace, corpus: Corpus) -> None:
    warning = few_documents(dict(zip(corpus.domains, whole(corpus), strict=True)))
    if warning is not None:
        space.watch.say(f"warning: {warning}")


def _reading(space: Workspace, job: str) -> Callable[[str, int, int], None]:
    return lambda what, done, total: space.watch.emit(Reading(job, what, done, total))


def _learning(space: Workspace) -> Callable[[str, float], None]:
    return lambda step, share: space.watch.emit(Learning(PREPARE, f"tokenizer, {step}", share))
