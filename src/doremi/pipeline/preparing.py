"""The corpus of a run: tokenised once, checked when it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from doremi.config import RunConfig
from doremi.corpus import store
from doremi.corpus.kept import check_batches, keep, kept_folder
from doremi.corpus.prepare import prepare as prepare_corpus
from doremi.corpus.source_record import change_warning, source_changes, what_was_read
from doremi.corpus.value import Corpus
from doremi.diagnostics.health import few_documents, unknown_tokens
from doremi.errors import DataError
from doremi.files import write_json
from doremi.pipeline.workspace import Workspace
from doremi.rundir.data_request import domain_sources, prepare_request
from doremi.rundir.weights import check_limits

FULL_CHECK_BYTES = 4 * 2**30  # above this, checksums of the token files are verified by `doremi prepare` only

SAY_EVERY_BYTES = 50 * 10**6
SAY_EVERY_SECONDS = 5.0  # while a tokenizer is trained


def prepare(space: Workspace, *, full_check: bool = False) -> Corpus:
    """Tokenize the corpus, or check the one that is there; `DamageError` if a file of it has changed."""
    folder = space.directory.corpus_folder

    def work() -> None:
        if made := not (folder / "manifest.json").exists():
            with space.timed("prepare"):
                request = prepare_request(space.config)
                stop, training = space.watch.stop_requested, _training_progress(space)
                prepare_corpus(request, folder, progress=_progress(space), stop=stop, training=training)
        if not made:
            _say_if_changed(space)
        corpus = Corpus.read(folder)
        if made:
            _say_what_was_read(space, corpus)
        full = full_check or sum(corpus.count("train", "tokens")) * 2 < FULL_CHECK_BYTES
        store.verify(corpus, full=full)
        write_json(space.root / "manifest.json", {**space.directory.manifest(), "fingerprint": corpus.fingerprint})
        if full_check or made:
            _say_if_few(space, corpus)
        _keep(space, corpus, full)

    space.world.on_main(work)
    corpus = Corpus.read(folder)
    if space.config.kept_share < 1:
        corpus = replace(corpus, kept=Corpus.read(kept_folder(corpus, space.config.kept_share)))
    _check_lengths(space.config, corpus)
    check_limits(space.config, corpus)
    return corpus


def _check_lengths(config: RunConfig, corpus: Corpus) -> None:
    """The sequence length may have changed since the corpus was prepared, until the first training."""
    needed = config.data.sequence_length + 1
    for name, tokens in zip(corpus.domains, corpus.count("train", "tokens"), strict=True):
        if tokens < needed:
            raise DataError(
                f"domain {name!r} has {tokens:,} training tokens; one sequence needs {needed:,}: "
                "lower data.sequence_length, or give this run another name and the domain more text"
            )


def _say_if_changed(space: Workspace) -> None:
    folder = space.directory.corpus_folder
    warning = change_warning(source_changes(folder, domain_sources(space.config)), folder)
    if warning is not None:
        space.watch.say(f"warning: {warning}")


def _say_what_was_read(space: Workspace, corpus: Corpus) -> None:
    for name, domain in what_was_read(corpus).items():
        space.watch.say(f"{name}: {domain}")
    warning = unknown_tokens({name: e["train"] for name, e in corpus.manifest["domains"].items()})
    if warning is not None:
        space.watch.say(f"warning: {warning}")


def _say_if_few(space: Workspace, corpus: Corpus) -> None:
    warning = few_documents({d: int(corpus.validation_documents(d)["report"].sum()) for d in corpus.domains})
    if warning is not None:
        space.watch.say(f"warning: {warning}")


def _keep(space: Workspace, corpus: Corpus, full_check: bool) -> None:
    """The documents that epoch-matched runs are trained on; `DataError` where they don't fill a batch."""
    config = space.config
    if config.kept_share == 1:
        return
    if not (kept_folder(corpus, config.kept_share) / "manifest.json").exists():
        space.watch.say(f"prepare: {config.kept_share} of every domain, to repeat it as the final run will")
    kept = keep(corpus, config.kept_share, full_check=full_check, stop=space.watch.stop_requested)
    check_batches(corpus, kept, config.training.batch_size, config.data.sequence_length)


def _progress(space: Workspace) -> Callable[[str, int], None]:
    last: dict[str, Any] = {"domain": "", "done": 0}

    def report(domain: str, done: int) -> None:
        if domain != last["domain"]:
            space.watch.say(f"prepare: {domain}")
            last.update(domain=domain, done=0)
        elif done - last["done"] >= SAY_EVERY_BYTES:
            space.watch.say(f"prepare: {domain}, {done / 1e6:,.0f} MB of text")
            last["done"] = done

    return report


def _training_progress(space: Workspace) -> Callable[[str, float], None]:
    """Says how far the training of a tokenizer is; the time left is that of the step it is at."""
    began: dict[str, float] = {}
    said = time.monotonic()

    def report(step: str, share: float) -> None:
        nonlocal said
        now = time.monotonic()
        start = began.setdefault(step, now)
        if share and now - said >= SAY_EVERY_SECONDS:
            said, left = now, (now - start) * (1 - share) / share
            space.watch.say(f"prepare: tokenizer, {step} {share:.0%}, about {left:,.0f} s left")

    return report
