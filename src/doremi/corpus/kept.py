"""Epoch-matched training: the documents that a short run keeps, so that it repeats each domain as the final run will.

A run of a share s of the final run's tokens that draws from s of every domain makes as many passes over it as the
final run makes over the whole. Kept are the first documents in the order of their hash (SHA-256 of the token bytes; of
equal ones the earlier first), as many as come nearest to s times the domain's tokens, in the order of the corpus. So a
smaller share is part of a larger one, and what is kept depends on nothing but the text and the tokenizer. Tokens are
counted, not documents: these differ so much in length that a share of them can be far from that share of the text.

    <corpus>/kept/<share>/    a corpus folder with training files only; docs/formats.md

It is written domain by domain, the manifest last, and goes on after an interruption. In memory: one document, and a
few words for each document that is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from heapq import heappop, heappush
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.loader import windows
from doremi.corpus.manifest import split_counts
from doremi.corpus.store import AGAIN, SplitWriter, disk_errors, expected_size, token_file, verify_files
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, DataError, DoremiError, Interrupted
from doremi.files import FORMAT, key_of, read_json, write_json

NAMED = 5  # domains that an error names at most
_BLOCK = 1 << 16  # document ends read at a time

Stop = Callable[[], bool]


def kept_folder(corpus: Corpus, share: Fraction) -> Path:
    """Where the training documents for a share lie."""
    stated = corpus.stated_sizes()
    of_sizes = f"-{key_of(stated)[:8]}" if stated else ""
    return corpus.folder / "kept" / f"{share.numerator}-of-{share.denominator}{of_sizes}"


def kept_part(corpus: Corpus, domain: str, share: Fraction) -> Fraction:
    """The part of what was read of a domain that is the share of the whole domain; all of it where too little was."""
    read = corpus.entries[domain].train.tokens
    return min(Fraction(1), share * corpus.sizes[domain].train / max(1, read))


def already_kept(corpus: Corpus, share: Fraction) -> Corpus | None:
    """The corpus with the training documents that were kept for a share of it; None where none of this corpus are."""
    folder = kept_folder(corpus, share)
    if not (folder / "manifest.json").exists():
        return None
    kept = Corpus.read(folder)
    return replace(corpus, kept=kept) if kept.whole == corpus.fingerprint else None


def keep(corpus: Corpus, share: Fraction, *, full_check: bool, stop: Stop | None = None) -> Corpus:
    """Write the kept documents of every domain, or check the ones that are there; they are a corpus to train on.

    `share` is above 0 and at most 1, `full_check` compares checksums too. `DamageError` names a file that has changed,
    `RunError` one that cannot be written; `Interrupted` soon after `stop()`, asked at every document, says True.
    """
    folder = kept_folder(corpus, share)
    if not ((folder / "manifest.json").exists() and Corpus.read(folder).whole == corpus.fingerprint):
        _make(corpus, share, folder, stop or (lambda: False))
    kept = Corpus.read(folder)
    verify_files(kept, full_check, ("train",))
    return kept


def check_batches(corpus: Corpus, kept: Corpus, batch_size: int, sequence_length: int) -> None:
    """`DataError` that names the domains in which fewer sequences than a batch has are left."""
    small = [
        f"{name!r} (of {whole:,} documents {documents:,} are kept: {tokens:,} tokens)"
        for name, whole, documents, tokens in zip(
            corpus.domains,
            corpus.count("train", "documents"),
            kept.count("train", "documents"),
            kept.count("train", "tokens"),
            strict=True,
        )
        if windows(tokens, sequence_length) < batch_size
    ]
    if small:
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        raise DataError(
            f"epoch matching keeps {kept.share} of each domain, which is under one batch ({batch_size} "
            f"sequences of {sequence_length} tokens) of {', '.join(small[:NAMED])}{more}. Train for more steps, lower "
            "budget_tokens, give such a domain more text, merge it with another, or set data.epoch_matched to false."
        )


# -- writing ---------------------------------------------------------------------------------------------------------


def _make(corpus: Corpus, share: Fraction, folder: Path, stop: Stop) -> None:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
    entries = {name: _entry(corpus, name, share, folder, stop) for name in corpus.domains}
    described = {"tokenizer": asdict(corpus.tokenizer), "dtype": corpus.dtype}
    body = {"format": FORMAT, "corpus": corpus.fingerprint, "share": str(share), "domains": entries}
    with disk_errors(folder):
        write_json(folder / "manifest.json", {**body, **described, "fingerprint": key_of(body)})
        for entry in entries.values():
            (folder / entry["folder"] / "domain.json").unlink(missing_ok=True)


def _entry(corpus: Corpus, name: str, share: Fraction, folder: Path, stop: Stop) -> dict[str, Any]:
    """The domain's part of the manifest: from an earlier, interrupted time, or made now."""
    own = corpus.entries[name].folder
    place = folder / own / "domain.json"
    counts = _finished(place, corpus)
    if counts is None:
        whole = corpus.entries[name].train
        with disk_errors(place.parent):
            place.parent.mkdir(exist_ok=True)
            place.unlink(missing_ok=True)
        documents = _read(corpus, name, range(whole.documents), stop)
        counts = _write(
            corpus, name, select(documents, kept_part(corpus, name, share) * whole.tokens), place.parent, stop
        )
        with disk_errors(place.parent):
            write_json(place, {"format": FORMAT, "corpus": corpus.fingerprint, "train": counts})
    return {"folder": own, "train": counts}


def _finished(place: Path, corpus: Corpus) -> dict[str, Any] | None:
    """What domain.json says, if it is of this corpus and its files have their sizes."""
    itemsize = np.dtype(corpus.dtype).itemsize
    try:
        found = read_json(place, "finished domain")
        counts = found["train"]
        whole = all(
            (place.parent.parent / name).stat().st_size == expected_size(Path(name), split_counts(counts), itemsize)
            for name in counts["files"]
        )
        return counts if whole and found["corpus"] == corpus.fingerprint else None
    except (DoremiError, OSError):
        return None


def select(documents: Iterable[tuple[bytes, int]], target: Fraction) -> list[int]:
    """Places of the documents that are kept, rising: those first by hash that come nearest to `target` tokens.

    `documents`: token bytes and number of tokens of each, in order. At least one is kept if there is one. While they
    pass by, only the first by hash that reach the target are remembered: no later document makes others needed.
    """
    needed, held = max(1, ceil(target)), 0
    largest_first: list[tuple[int, int, int]] = []  # minus hash, minus place, tokens
    for place, (data, tokens) in enumerate(documents):
        digest = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
        heappush(largest_first, (-digest, -place, tokens))
        held += tokens
        while held - largest_first[0][2] >= needed:
            held -= heappop(largest_first)[2]
    if len(largest_first) > 1 and target - (held - largest_first[0][2]) <= held - target:
        heappop(largest_first)
    return sorted(-place for _, place, _ in largest_first)


def _write(corpus: Corpus, name: str, places: list[int], folder: Path, stop: Stop) -> dict[str, Any]:
    writer = SplitWriter(folder, "train", corpus.dtype)
    try:
        for data, _ in _read(corpus, name, places, stop):
            writer.add(data, 0)
        counts = writer.close(folder.name)
        with disk_errors(folder):
            writer.publish()
    finally:
        writer.discard()
    return {what: counts[what] for what in ("documents", "tokens", "files")}


def _read(corpus: Corpus, name: str, places: Iterable[int], stop: Stop) -> Iterator[tuple[bytes, int]]:
    """Token bytes and number of tokens of the training documents at `places`, which rise."""
    path, dtype = corpus.path(name, "train.ends"), np.dtype(corpus.dtype).newbyteorder("<")
    spans, source = enumerate(_spans(path)), token_file(corpus, name, "train")
    for wanted in places:
        if stop():
            raise Interrupted(f"stopped while choosing documents of domain {name!r}")
        start, end = next((span for place, span in spans if place == wanted), (0, -1))
        if end < 0:
            raise DamageError(f"{path}: has no whole document {wanted + 1:,}; {AGAIN}")
        ids = np.empty(end - start, np.int64)
        source.read(start, ids)
        yield ids.astype(dtype).tobytes(), end - start


def _spans(path: Path) -> Iterator[tuple[int, int]]:
    """First token and the one past the last of each document."""
    start = 0
    with path.open("rb") as file:
        while block := file.read(8 * _BLOCK):
            for end in np.frombuffer(block, "<u8").tolist():
                yield start, end
                start = end
