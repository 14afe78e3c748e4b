"""The first step of a preparation: the tokenizer, what is held out of all domains, and the list of shards.

Held-out text is chosen over all domains before anything else, so that none of it is trained on in any. Of a large
domain that takes a bounded part of it (parts.py). Files that hold documents of all domains are parted first
(parting.py), and samples are drawn.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.encoding import Encoded
from doremi.corpus.parting import FOLDER as PARTED
from doremi.corpus.parting import Parted, Pass, part_files
from doremi.corpus.parts import METHOD, DomainPlan, Piece, PrepareRequest, candidates, make_plan, sample
from doremi.corpus.patterns import File
from doremi.corpus.sampling import Drawing, rate_of
from doremi.corpus.shards.cut import cut, is_shared_out
from doremi.corpus.shards.layout import (
    FOLDER,
    DomainRecord,
    Layout,
    begin_anew,
    read_layout,
    table_of,
    write_domain,
    write_layout,
)
from doremi.corpus.shards.work import REPORT_EVERY, Work
from doremi.corpus.sources import DomainFiles, find_all
from doremi.corpus.store import SplitWriter, disk_errors
from doremi.corpus.tokenized.opening import Opening
from doremi.corpus.tokenized.writing import candidates as candidates_of_tokens
from doremi.corpus.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from doremi.corpus.validation import HALVES, Holdout
from doremi.errors import DataError
from doremi.files import key_of
from doremi.mixture.domains import folder_name


def begin(work: Work) -> Layout:
    """The shards of the preparation: those of an earlier one that was interrupted, or made now.

    `DataError` for the user's files, `ConfigError` for the tokenizer, `RunError` where nothing can be written.
    """
    found = find_all(work.request.domains)
    paths = key_of([[file.path for file in (*files.train, *files.validation)] for files in found.values()])
    layout = read_layout(work.folder, work.key)
    if layout is not None and layout.paths == paths:
        return layout
    with disk_errors(work.folder):
        work.folder.mkdir(parents=True, exist_ok=True)
        (work.folder / "manifest.json").unlink(missing_ok=True)
        begin_anew(work.folder)
    return _made(work, found, paths)


def _made(work: Work, found: Mapping[str, DomainFiles], paths: str) -> Layout:
    skip = work.request.skip_bad_records
    how = Pass(work.key, skip, work.stop, work.progress)
    own = part_files(work.request.domains, found, work.folder / PARTED, how)
    request = replace(work.request, domains=own.sources)
    tokenizer, plans = _planned(work, request, own)
    with disk_errors(work.folder):
        tokenizer.save(work.folder / "tokenizer")
    shards = cut(plans)
    held = _held_out(work, plans, tokenizer, shared_out=is_shared_out(shards))
    described = [METHOD, work.key, paths, tokenizer.sha256, [asdict(shard) for shard in shards]]
    key = key_of([*described, hashlib.sha256(b"".join(sorted(held))).hexdigest()])
    layout = Layout(work.folder, key, work.key, tuple(shards), paths, is_shared_out(shards), own.of_no_domain)
    with disk_errors(work.folder):
        write_layout(layout, held, tokenizer)
    work.tokenizer = tokenizer
    return layout


def _planned(work: Work, request: PrepareRequest, own: Parted) -> tuple[TextTokenizer, list[DomainPlan]]:
    """The tokenizer, and the domains as they are read: most mistakes show here."""
    loaded = load_tokenizer(request.tokenizer) if request.tokenizer is not None else None
    opening = Opening(request, work.folder, loaded, work.stop, work.progress)
    rate = rate_of(loaded.spec) if loaded is not None else None
    drawing = Drawing(work.folder, rate, work.stop, request.skip_bad_records, work.progress)
    plans = [
        make_plan(
            name, files, request, work.stop, drawing.of(name, request.domains[name], files), opening.of(name, files)
        )
        for name, files in own.found.items()
    ]
    return loaded or _trained(work, request, plans), plans


def _trained(work: Work, request: PrepareRequest, plans: list[DomainPlan]) -> TextTokenizer:
    share = request.tokenizer_sample_bytes // len(plans)
    texts = (text for plan in plans for text in sample(plan, share, work.stop))
    return train_tokenizer(texts, request.vocab_size, progress=work.training, stop=work.stop)


# -- held-out text ---------------------------------------------------------------------------------------------------


def _held_out(work: Work, plans: list[DomainPlan], tokenizer: TextTokenizer, *, shared_out: bool) -> set[bytes]:
    """Write what is held out of each domain; the digests of what is trained on nowhere."""
    held, before = set[bytes](), 0
    sizes = [sum(file.size for file in _held_files(plan)) for plan in plans]
    for plan, size in zip(plans, sizes, strict=True):
        place = work.folder / FOLDER / folder_name(plan.name)
        with disk_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        digests, counts = _write_validation(work, plan, tokenizer, place, (before, sum(sizes)))
        held |= digests
        before += size
        with disk_errors(place):
            ours = plan.drawn is not None or plan.source != work.request.domains[plan.name]
            seconds = plan.tokens.seconds() if plan.tokens is not None and shared_out else 0.0
            write_domain(place, _record(plan, counts, seconds, ours=ours))
            _write_tables(plan, place)
        if plan.tokens is not None:
            work.known[plan.name] = plan.tokens.known
    return held


def _held_files(plan: DomainPlan) -> list[File]:
    """Where the text that is held out comes from."""
    return plan.files.validation or plan.files.train


def _write_validation(
    work: Work, plan: DomainPlan, tokenizer: TextTokenizer, place: Path, share: tuple[int, int]
) -> tuple[set[bytes], dict[str, Any]]:
    """Write the domain's validation text in the order in which it was read: the digests of what is trained on nowhere,
    and its counts. Of given validation files everything is kept out of training, also what does not fit.

    `share`: bytes of all domains' files before it, and in all.
    """
    holdout = Holdout(plan.rule, work.request.validation_max_tokens)
    given: set[bytes] = set()
    found: list[Encoded[Piece]] = []
    reported, itemsize = 0, np.dtype(tokenizer.dtype).itemsize
    with _candidates(work, plan, holdout, given, tokenizer) as pieces:
        for one in pieces:
            if plan.read_bytes - reported >= REPORT_EVERY:
                reported = plan.read_bytes
                work.progress(f"{plan.name}, held-out text", share[0] + reported, share[1])
            holdout.offer(one.tag.digest, len(one.tokens) // itemsize)
            found.append(one)
    kept = holdout.kept()
    if len(set(kept.values())) < len(HALVES):
        raise DataError(
            f"domain {plan.name!r}: data.validation_max_tokens is {work.request.validation_max_tokens:,}, and no piece "
            f"of {work.request.piece_length:,} characters fits into half of it; raise it"
        )
    with disk_errors(place):
        writer = SplitWriter(place, "validation", tokenizer.dtype)
        for tokens, unknown, piece in found:
            if (half := kept.get(piece.digest)) is not None:
                writer.add(tokens, piece.size, half, unknown=unknown)
        counts = writer.close(place.name)
        writer.publish()
    return given | kept.keys(), counts


def _candidates(
    work: Work, plan: DomainPlan, holdout: Holdout, given: set[bytes], tokenizer: TextTokenizer
) -> contextlib.AbstractContextManager[Iterator[Encoded[Piece]]]:
    """Pieces that may be held out, as tokens."""
    if plan.tokens is not None:
        found = candidates_of_tokens(plan, plan.tokens, holdout, given, work.stop, tokenizer.dtype)
        return contextlib.closing(found)  # pyright: ignore[reportArgumentType]
    return contextlib.closing(work.encoder(tokenizer.spec).encode(candidates(plan, holdout, given, work.stop)))


# -- what later steps need of a domain -------------------------------------------------------------------------------


def _record(plan: DomainPlan, validation: Mapping[str, Any], seconds: float, *, ours: bool) -> DomainRecord:
    drawn, reading = plan.drawn, plan.tokens
    return DomainRecord(
        files=tuple(plan.files.train),
        ours=ours,
        validation=validation,
        given=bool(plan.files.validation),
        bad={} if drawn is None else dict(drawn.bad),
        left_out={} if drawn is None else dict(drawn.left_out),
        sample=None if plan.sample is None else asdict(plan.sample),
        tables=reading is not None and reading.sample is not None,
        notes=() if reading is None else tuple(reading.notes),
        seconds=seconds,
    )


def _write_tables(plan: DomainPlan, place: Path) -> None:
    """The documents that a sample of tokens has of each file."""
    if plan.tokens is None or plan.tokens.sample is None:
        return
    for number in range(len(plan.files.train)):
        table = plan.tokens.train.tables(number)
        if len(table):
            np.stack([table.offset, table.tokens]).astype(np.int64).tofile(table_of(place, number))
