"""What of a domain of tokens is held out, and which stretches of its files are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.encoding import Encoded
from doremi.corpus.parts import SPREAD_BYTES, Counts, DomainPlan, Piece, Stop
from doremi.corpus.shards.rows import ENDED, FIRST, TEXT, Row
from doremi.corpus.store import sampled_sha256
from doremi.corpus.tokenized.documents import TokenDocument, TokenPiece
from doremi.corpus.tokenized.find import companion
from doremi.corpus.tokenized.layout import Layout
from doremi.corpus.tokenized.reading import Reading
from doremi.corpus.validation import Holdout, document_digest
from doremi.files import file_sha256

ENOUGH = 4  # times the tokens that may be held out: so much is looked at of a large domain, at least


def candidates(
    plan: DomainPlan, reading: Reading, holdout: Holdout, given: set[bytes], stop: Stop, dtype: str
) -> Iterator[Encoded[Piece]]:
    """Pieces that may be held out, each once, as the tokens that they are; those of validation files join `given`."""
    seen: set[bytes] = set()
    unknown_id, end = reading.unknown_id, np.array([reading.reader.end])
    for document in _offered(plan, reading, stop, holdout):
        for piece in reading.cut(reading.held, document).pieces:
            if reading.validation is not None and piece.has_text:
                given.add(piece.digest)
            wanted = piece.has_text and piece.digest not in seen and plan.rule.half(piece.digest) is not None
            if not wanted or not holdout.wants(piece.digest):
                continue
            seen.add(piece.digest)
            own = document.ids[piece.first : piece.last]
            ids = np.concatenate([own, end]).astype(np.dtype(dtype).newbyteorder("<"))
            yield Encoded(ids.tobytes(), _unknown(own, unknown_id), Piece(piece.digest, piece.size))


def _offered(plan: DomainPlan, reading: Reading, stop: Stop, holdout: Holdout) -> Iterator[TokenDocument]:
    """All documents; of a large domain those of places all over it, until there are enough."""
    side = reading.held
    if reading.validation is not None or sum(file.size for file in side.files) <= SPREAD_BYTES:
        for document in side.documents():
            plan.check(stop)
            yield document
        return
    size = tokens = 0
    for number, table in side.spread():
        for document in side.read(number, table):
            plan.check(stop)
            yield document
        tokens += int(table.tokens.sum())
        size += int(table.tokens.sum()) * side.layouts[number].dtype.itemsize
        if size >= SPREAD_BYTES and tokens * plan.rule.fraction >= ENOUGH * holdout.max_tokens:
            return


def rows_of(plan: DomainPlan, reading: Reading, held: Set[bytes], found: Counts, stop: Stop) -> Iterator[Row]:
    """Where training documents lie, without the pieces that are held out anywhere."""
    for document in reading.train.documents():
        plan.check(stop)
        pieces, is_special = reading.cut(reading.train, document)
        if not any(piece.has_text for piece in pieces):
            found.empty += 1
            continue
        found.special += is_special
        runs = [(is_held, list(run)) for is_held, run in groupby(pieces, lambda piece: piece.digest in held)]
        excluded = sum(len(run) for is_held, run in runs if is_held)
        parts = [run for is_held, run in runs if not is_held and run[-1].last > run[0].first]
        rows = [_row(document, part, reading, is_last=part[-1] is pieces[-1]) for part in parts] or [Row(b"", 0, 0)]
        digest, flags = document_digest([piece.digest for piece in pieces]), TEXT if parts else 0
        yield rows[0]._replace(digest=digest, excluded=excluded, flags=rows[0].flags & ~TEXT | flags | FIRST)
        yield from rows[1:]


def _row(document: TokenDocument, part: list[TokenPiece], reading: Reading, *, is_last: bool) -> Row:
    first, last = part[0].first, part[-1].last
    ended = is_last and last < len(document.ids)  # its own end follows
    ids = document.ids[first : last + ended]
    size = sum(piece.size for piece in part)
    offset = document.offset + first * ids.itemsize
    flags = TEXT | ended * ENDED
    return Row(b"", size, len(ids), _unknown(ids, reading.unknown_id), offset, 0, document.file, flags)


def _unknown(ids: np.ndarray, unknown_id: int | None) -> int:
    return 0 if unknown_id is None else int((ids == unknown_id).sum())


def in_place(layouts: Sequence[Layout], end: int, tokens_sha256: str) -> dict[str, Any]:
    """What the manifest says of the files: all but their places, which are no part of the identity."""
    files = []
    for layout in layouts:
        beside = companion(str(layout.path))
        files.append(
            {
                "type": layout.dtype.str,
                "bytes": layout.path.stat().st_size,
                "sample": sampled_sha256(layout.path),
                "index": "" if beside is None else file_sha256(beside),
            }
        )
    return {"end": end, "tokens_sha256": tokens_sha256, "files": files}


def places(layouts: Sequence[Layout], folder: Path) -> list[str]:
    """Where the files lie that are used in place. What was unpacked moves with the corpus."""
    return [_place(layout.path, folder) for layout in layouts]


def _place(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path.resolve())
