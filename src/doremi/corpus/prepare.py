"""From files of text to a corpus folder: tokenizer, validation split, token files, manifest. See docs/formats.md.

    files (sources) -> documents (readers) -> pieces (validation) -> token bytes (encoding) -> files (store)

Held-out text is chosen first, over all domains, so that none of it is trained on in any. The parent reads, decides and
writes in the order of the files, so the same bytes come out for any number of workers. A domain is published when it is
complete; the manifest comes last. What was interrupted keeps its finished domains, if nothing about them has changed,
and starts the others again. Files that hold documents of all domains are parted first (parting.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from doremi.corpus.bpe import Progress as TrainingProgress
from doremi.corpus.checks import Limits, check_domain
from doremi.corpus.duplicates import DigestSet
from doremi.corpus.duplicates import load as load_digests
from doremi.corpus.duplicates import save as save_digests
from doremi.corpus.encoding import Encoded, Encoder, worker_count
from doremi.corpus.key import corpus_key
from doremi.corpus.manifest import SplitCounts, split_counts
from doremi.corpus.parting import FOLDER as PARTED
from doremi.corpus.parting import Pass, part_files
from doremi.corpus.parts import (
    METHOD,
    Counts,
    DomainPlan,
    Piece,
    PrepareRequest,
    Shared,
    Stop,
    candidates,
    make_plan,
    sample,
    training_parts,
)
from doremi.corpus.patterns import File
from doremi.corpus.sampling import Drawing, rate_of
from doremi.corpus.source_record import record_sources
from doremi.corpus.sources import find_all
from doremi.corpus.store import DomainWriter, disk_errors, expected_size
from doremi.corpus.tokenized.opening import SCANS, Opening
from doremi.corpus.tokenized.writing import candidates as candidates_of_tokens
from doremi.corpus.tokenized.writing import in_place, places, write_segments
from doremi.corpus.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from doremi.corpus.validation import HALVES, Holdout
from doremi.corpus.value import IN_PLACE, Corpus
from doremi.errors import DataError, DoremiError, Interrupted, RunError
from doremi.files import FORMAT, key_of, read_json, write_json
from doremi.mixture.domains import DomainSet, folder_name

_RESERVED = (  # what lies in the corpus folder beside the domains
    "corpus.lock", "corpus.owner", "data.json", "kept", "manifest.json", "scans", "sources.json", "tokenizer",
    "where.json",
)  # fmt: skip
_REPORT_EVERY = 1 << 20  # bytes of files between two calls of `progress`

Progress = Callable[[str, int, int], None]


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
    stop = stop or (lambda: False)
    _check_names(request)
    key = key or corpus_key(request)
    found = find_all(request.domains)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
    progress = progress or (lambda what, done, total: None)
    own = part_files(request.domains, found, folder / PARTED, Pass(key, request.skip_bad_records, stop, progress))
    asked, request = request, replace(request, domains=own.sources)
    loaded = load_tokenizer(request.tokenizer) if request.tokenizer is not None else None
    opening = Opening(request, folder, loaded, stop, progress)
    rate = rate_of(loaded.spec) if loaded is not None else None
    drawing = Drawing(folder, rate, stop, request.skip_bad_records, progress)
    plans = [
        make_plan(name, files, request, stop, drawing.of(name, request.domains[name], files), opening.of(name, files))
        for name, files in own.found.items()
    ]
    tokenizer = loaded or _trained(request, plans, stop, training)
    with disk_errors(folder):
        tokenizer.save(folder / "tokenizer")
    try:
        with Encoder(tokenizer.spec, worker_count(request.workers)) as encoder:
            work = _Work(request, folder, tokenizer, encoder, progress, stop)
            entries = _entries(plans, work)
    except RunError:
        if stop():  # a signal to the whole group ends the workers too, and they are not to blame
            raise Interrupted("stopped while preparing the corpus") from None
        raise
    with disk_errors(folder):
        in_part = [plan.name for plan in plans if plan.drawn is not None or plan.tokens is not None]
        record_sources(folder, found, sampled=in_part, of_no_domain=own.of_no_domain)
        if corpus_key(asked) != key:
            raise DataError("the files of the domains changed while they were read; run the same command again")
        beside = {**_samples(plans), **places(folder, plans), "remarks": work.remarks, "key": key}
        write_json(folder / "manifest.json", {**_manifest(tokenizer, entries), **beside})
        _tidy(folder, plans, drawing)
    return Corpus.read(folder)


def _tidy(folder: Path, plans: list[DomainPlan], drawing: Drawing) -> None:
    """Remove what only an interrupted preparation would have needed."""
    for plan in plans:
        drawing.forget(plan.name)
        for file in (_finished_file(folder, plan), _digests_file(folder, plan)):
            file.unlink(missing_ok=True)
    for left in (PARTED, SCANS):
        shutil.rmtree(folder / left, ignore_errors=True)


# -- what there is to do ---------------------------------------------------------------------------------------------


def _check_names(request: PrepareRequest) -> None:
    for name in DomainSet(request.domains):
        if folder_name(name).casefold() in _RESERVED:
            raise DataError(f"domain name {name!r} is the name of a file of the corpus folder; rename the domain")


def _trained(
    request: PrepareRequest, plans: list[DomainPlan], stop: Stop, training: TrainingProgress | None
) -> TextTokenizer:
    share = request.tokenizer_sample_bytes // len(plans)
    texts = (text for plan in plans for text in sample(plan, share, stop))
    return train_tokenizer(texts, request.vocab_size, progress=training, stop=stop)


# -- one domain ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """What all domains share."""

    request: PrepareRequest
    folder: Path
    tokenizer: TextTokenizer
    encoder: Encoder
    progress: Progress
    stop: Stop
    remarks: dict[str, Any] = field(default_factory=dict)
    """Of the domains that are done: no part of the identity."""

    @cached_property  # asked for at every document
    def itemsize(self) -> int:
        return 2 if self.tokenizer.dtype == "uint16" else 4

    @cached_property
    def special(self) -> re.Pattern[str]:
        """The text of any special token."""
        return re.compile("|".join(map(re.escape, self.tokenizer.special_texts)))


def _entries(plans: list[DomainPlan], work: _Work) -> dict[str, Any]:
    """The domains' parts of the manifest: all validation text first, since no domain may train on it."""
    shared, entries = Shared(), {}
    held, train = _Share([_held_files(plan) for plan in plans]), _Share([plan.files.train for plan in plans])
    with contextlib.ExitStack() as stack:
        writers = []
        for plan in plans:
            end = None if plan.tokens is None else plan.tokens.reader.end
            place = work.folder / folder_name(plan.name)
            writer = stack.enter_context(DomainWriter(place, work.tokenizer.dtype, end))
            shared.held |= _write_validation(plan, work, writer, held)
            held.domain_is_done()
            writers.append(writer)
        frozen = hashlib.sha256(b"".join(sorted(shared.held))).hexdigest()
        for plan, writer in zip(plans, writers, strict=True):
            entries[plan.name] = _entry(plan, work, writer, shared, frozen, train)
            train.domain_is_done()
    return entries


class _Share:
    """How many bytes of all domains' source files lie before the one that is read, and in all."""

    def __init__(self, files: list[list[File]]) -> None:
        self.sizes = [sum(file.size for file in of_domain) for of_domain in files]
        self.before, self.total, self.done = 0, sum(self.sizes), 0

    def domain_is_done(self) -> None:
        self.before += self.sizes[self.done]
        self.done += 1


def _held_files(plan: DomainPlan) -> list[File]:
    """Where the text that is held out comes from."""
    return plan.files.validation or plan.files.train


def _entry(
    plan: DomainPlan, work: _Work, writer: DomainWriter, shared: Shared, frozen: str, share: _Share
) -> dict[str, Any]:
    """The domain's part of the manifest: from an earlier, interrupted preparation, or made now.

    Its documents join those that `shared` has seen; `frozen` stands for all text that is held out.
    """
    key = _key(plan, work, frozen, shared.seen)
    place = _finished_file(work.folder, plan)
    done = _finished(place, key, work)
    if done is None:
        place.unlink(missing_ok=True)
        found = Counts()
        if plan.drawn is not None:
            found.bad.update(plan.drawn.bad)
            found.left_out.update(plan.drawn.left_out)
        _write_train(plan, work, shared, found, writer, share)
        own = Counter() if plan.files.validation else Counter(writer.validation.counts)
        found.excluded -= own["documents"]  # what is held out of this domain, once each, is no loss
        limits = Limits(work.request.sequence_length, work.request.max_unknown)
        train = writer.trained.counts
        counted = SplitCounts(tokens=train["tokens"], unknown=train["unknown"])
        check_domain(plan.name, counted, found.excluded, limits)
        written = writer.finish()
        written["train"]["skipped"] = found.empty + found.excluded + found.dropped
        size = written["train"]["tokens"] + own["tokens"]
        counts = {"tokens": size, "found": found.record(), **written}
        remarks: dict[str, Any] = {"longest": writer.trained.longest, "special": found.special}
        if plan.tokens is not None:
            counts["in_place"] = in_place(plan.tokens, writer.segments)
            remarks["notes"] = plan.tokens.notes
        done = counts, remarks
        with disk_errors(place.parent):
            save_digests(found.documents, _digests_file(work.folder, plan))
            write_json(place, {"format": FORMAT, "key": key, "counts": counts, "remarks": done[1]})
    shared.seen.update(load_digests(_digests_file(work.folder, plan)))
    counts, work.remarks[plan.name] = done
    return {"folder": place.parent.name, **counts}


def _finished_file(folder: Path, plan: DomainPlan) -> Path:
    """Says, until the manifest is written, that this domain is complete."""
    return folder / folder_name(plan.name) / "domain.json"


def _digests_file(folder: Path, plan: DomainPlan) -> Path:
    """The digests of a complete domain's documents, for the domains after it, until the manifest is written."""
    return folder / folder_name(plan.name) / "documents.u64"


def _key(plan: DomainPlan, work: _Work, frozen: str, seen: DigestSet) -> str:
    """Everything that the domain's files depend on. Input files count by name, size and time."""
    request = work.request
    sides = (plan.files.train, plan.files.validation)
    return key_of(
        {
            "method": METHOD,
            "tokenizer": work.tokenizer.sha256,
            "text_field": plan.source.text_field,
            **({"shape": plan.source.said} if plan.source.said else {}),
            "files": [[(file.path, file.size, file.version) for file in files] for files in sides],
            "validation": [request.validation_fraction, request.validation_max_tokens],
            "held_out": frozen,
            "seen": hashlib.sha256(seen.values().tobytes()).hexdigest(),
            "records": [request.skip_bad_records, request.drop_duplicates],
        }
    )


def _finished(place: Path, key: str, work: _Work) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Counts and remarks of a domain that is complete; None where it is not, or not this one."""
    try:
        found = read_json(place, "finished domain")
        counts = found["counts"] if found["key"] == key and (place.parent / "documents.u64").exists() else {}
        for split in ("train", "validation") if counts else ():
            for name in counts[split]["files"]:
                if (work.folder / name).stat().st_size != expected_size(
                    Path(name), split_counts(counts[split]), work.itemsize
                ):
                    return None
        return (counts, found["remarks"]) if counts else None
    except (DoremiError, OSError, KeyError):
        return None


def _write_validation(plan: DomainPlan, work: _Work, writer: DomainWriter, share: _Share) -> set[bytes]:
    """Write the domain's validation text in the order in which it was read; the digests of what is trained on nowhere.

    Of given validation files everything is kept out of training, also what does not fit.
    """
    holdout = Holdout(plan.rule, work.request.validation_max_tokens)
    given: set[bytes] = set()
    found: list[Encoded[Piece]] = []
    reported = 0
    with _candidates(plan, holdout, given, work) as pieces:
        for one in pieces:
            if plan.read_bytes - reported >= _REPORT_EVERY:
                reported = plan.read_bytes
                work.progress(f"{plan.name}, held-out text", share.before + reported, share.total)
            holdout.offer(one.tag.digest, len(one.tokens) // work.itemsize)
            found.append(one)
    kept = holdout.kept()
    if len(set(kept.values())) < len(HALVES):
        raise DataError(
            f"domain {plan.name!r}: data.validation_max_tokens is {work.request.validation_max_tokens:,}, and no piece "
            f"of {work.request.piece_length:,} characters fits into half of it; raise it"
        )
    for tokens, unknown, piece in found:
        if (half := kept.get(piece.digest)) is not None:
            writer.validation.add(tokens, piece.size, half, unknown=unknown)
    writer.close_validation()
    return given | kept.keys()


def _candidates(
    plan: DomainPlan, holdout: Holdout, given: set[bytes], work: _Work
) -> contextlib.AbstractContextManager[Iterator[Encoded[Piece]]]:
    """Pieces that may be held out, as tokens."""
    if plan.tokens is not None:
        found = candidates_of_tokens(plan, plan.tokens, holdout, given, work.stop, work.tokenizer.dtype)
        return contextlib.closing(found)  # pyright: ignore[reportArgumentType]
    return _encoded(candidates(plan, holdout, given, work.stop), work)


def _write_train(
    plan: DomainPlan, work: _Work, shared: Shared, found: Counts, writer: DomainWriter, share: _Share
) -> None:
    reported = 0
    for _ in _trained_on(plan, work, shared, found, writer):
        if plan.read_bytes - reported >= _REPORT_EVERY:
            reported = plan.read_bytes
            work.progress(plan.name, share.before + reported, share.total)
    work.progress(plan.name, share.before + plan.read_bytes, share.total)


def _trained_on(plan: DomainPlan, work: _Work, shared: Shared, found: Counts, writer: DomainWriter) -> Iterator[None]:
    """Write what is trained on; goes on after each document."""
    if plan.tokens is not None:
        yield from write_segments(plan, plan.tokens, shared, found, writer.segments, work.stop)
        return
    with _encoded(training_parts(plan, shared, found, work.stop, work.special), work) as parts:
        for tokens, unknown, part in parts:
            writer.train.add(tokens, part.size, unknown=unknown)
            yield


def _encoded(
    texts: Iterator[tuple[str, Piece]], work: _Work
) -> contextlib.AbstractContextManager[Iterator[Encoded[Piece]]]:
    """Token bytes of each text in order; closing it cancels what is still on the way."""
    return contextlib.closing(work.encoder.encode(texts))


# -- the manifest ----------------------------------------------------------------------------------------------------


def _samples(plans: list[DomainPlan]) -> dict[str, Any]:
    """What was read of domains that were not read whole. It is no part of the identity: the text is."""
    samples = {plan.name: asdict(plan.sample) for plan in plans if plan.sample is not None}
    return {"samples": samples} if samples else {}


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
