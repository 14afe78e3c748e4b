"""What a corpus that is not prepared yet will hold, and how long preparing it takes: read, but not tokenized.

Documents and bytes are counted where the files are not too large to be read in a minute, and scaled by the files' sizes
where they are. Tokens are estimated from a sample that is really prepared, in a temporary folder, and so is the time.
Validation text is what the hash of it will choose.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from doremi.corpus.formats import is_packed
from doremi.corpus.parting import Pass, part_files
from doremi.corpus.parts import Counts, DomainPlan, Piece, PrepareRequest, Shared, candidates, make_plan, training_parts
from doremi.corpus.prepare import prepare
from doremi.corpus.sampling import BYTES_PER_TOKEN, Drawing
from doremi.corpus.sources import DomainSource, find_all
from doremi.corpus.tokenized.opening import Opening
from doremi.corpus.tokenizer import load_tokenizer
from doremi.corpus.validation import DISTINCT, Holdout
from doremi.corpus.value import Corpus
from doremi.errors import DataError
from doremi.files import FORMAT
from doremi.mixture.domains import folder_name

READ_BYTES = 512 * 2**20  # of text over all domains; what lies beyond is scaled
SAMPLE_BYTES = 8 * 10**6  # of text over all domains, really prepared
SMALL_SHARE = 8  # of it, for what does not grow with the text
TOKENIZER_BYTES = 4 * 10**6
SAMPLE_VALIDATION = 10_000  # tokens: room for a piece of any text
PIECE = 2000  # characters: a sample of long documents is cut, so that it holds enough of them
PACKED = 3.5  # bytes of text in a byte of a compressed file, where it is not read to its end


def survey(request: PrepareRequest, folder: Path) -> dict[str, Any]:
    """`manifest`, like a corpus's but estimated, and `seconds` to prepare it; works in the empty `folder`.

    `DataError` for files that cannot be read.
    """
    enough = Pass("", request.skip_bad_records, _never, limit=READ_BYTES)
    own = part_files(request.domains, find_all(request.domains), folder / "parted", enough)
    request, limit = replace(request, domains=own.sources), READ_BYTES // len(request.domains)
    most = round(limit / BYTES_PER_TOKEN)
    drawing = Drawing(folder / "samples", None, _never, request.skip_bad_records, most=most)
    loaded = load_tokenizer(request.tokenizer) if request.tokenizer and _holds_tokens(request) else None
    opening = Opening(request, folder, loaded, _never, lambda what, done, total: None, most=most)
    plans = [
        make_plan(name, files, request, _never, drawing.of(name, request.domains[name], files), opening.of(name, files))
        for name, files in own.found.items()
    ]
    sampled, seconds = _sampled(request, plans, folder)
    tokenizer = sampled.tokenizer
    parts = {name: entry.train for name, entry in sampled.entries.items()}
    rates = {name: max(1e-3, (part.tokens - part.documents) / part.bytes) for name, part in parts.items()}
    domains = _counted(plans, rates, limit)
    for entry in domains.values():
        _grow(entry, 1 / max(own.share, 1e-9))
    vocab_size = tokenizer.vocab_size if request.tokenizer else request.vocab_size
    described = asdict(replace(tokenizer, vocab_size=vocab_size))
    text = sum(entry[split]["bytes"] for entry in domains.values() for split in ("train", "validation"))
    manifest = {"format": FORMAT, "tokenizer": described, "dtype": sampled.dtype, "domains": domains}
    manifest = {**manifest, "samples": dict(_samples(plans)), "fingerprint": ""}
    return {"manifest": manifest, "seconds": seconds["fixed"] + seconds["a_byte"] * text}


def _holds_tokens(request: PrepareRequest) -> bool:
    return any(source.ids is not None for source in request.domains.values())


def _samples(plans: list[DomainPlan]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What will be read of domains that are not read whole."""
    for plan in plans:
        if (sample := plan.sample) is not None and (plan.tokens is None or plan.source.sample_tokens is not None):
            yield plan.name, asdict(replace(sample, bytes=round(sample.bytes * _more(plan))))


def _more(plan: DomainPlan) -> float:
    """How many times as much will be read of a domain as was drawn for this estimate."""
    drawn, wanted = plan.drawn, plan.source.sample_tokens
    if plan.tokens is not None and (part := plan.tokens.sample) is not None:
        there = part.of_bytes / max(1, part.bytes)
        read = sum(int(plan.tokens.train.tables(number).tokens.sum()) for number in range(len(plan.files.train)))
        return there if wanted is None else max(1.0, min(there, wanted / max(1, read)))
    if drawn is None or drawn.sample is None or wanted is None:
        return 1.0
    most = drawn.sample.of_bytes / max(1, drawn.sample.bytes)
    return max(1.0, min(most, wanted * BYTES_PER_TOKEN / max(1, drawn.text)))


# -- a sample, really prepared ---------------------------------------------------------------------------------------


def _sampled(request: PrepareRequest, plans: list[DomainPlan], folder: Path) -> tuple[Corpus, dict[str, float]]:
    """The sample prepared with a tokenizer of its own, and seconds: fixed ones, and those that grow with the text."""
    share = SAMPLE_BYTES // len(request.domains)
    large = _sample_request(request, plans, folder / "large", share)
    small = _sample_request(request, plans, folder / "small", max(share // SMALL_SHARE, PIECE * DISTINCT))
    _prepared(small, folder / "warm-up")  # what only the first preparation of a process pays for is not the tokenizer
    corpus, first = _prepared(large, folder / "first")
    known = str(folder / "first" / "tokenizer" / "tokenizer.json")
    big, again = _prepared(replace(large, tokenizer=known), folder / "again")
    little, least = _prepared(replace(small, tokenizer=known), folder / "least")
    more = _bytes(big) - _bytes(little)  # none where all the text is smaller than both
    a_byte = max(0.0, (again - least) / more) if more > 0 else 0.0
    fixed = least - a_byte * _bytes(little)
    if request.tokenizer is None:
        used = min(large.tokenizer_sample_bytes, _bytes(big))
        fixed += max(0.0, first - again) * request.tokenizer_sample_bytes / used
    return corpus, {"fixed": max(0.0, fixed), "a_byte": a_byte}


def _bytes(corpus: Corpus) -> int:
    return sum(corpus.count("train", "bytes")) + sum(corpus.count("validation", "bytes"))


def _prepared(request: PrepareRequest, folder: Path) -> tuple[Corpus, float]:
    start = time.monotonic()
    return prepare(request, folder), time.monotonic() - start


def _sample_request(request: PrepareRequest, plans: list[DomainPlan], folder: Path, share: int) -> PrepareRequest:
    """The same request of the first `share` bytes of each domain."""
    folder.mkdir()
    sources = {}
    for plan in plans:
        path = folder / f"{folder_name(plan.name)}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for text in _pieces(plan.texts(plan.files.train, _never), share):
                file.write(json.dumps({"text": text}) + "\n")
        sources[plan.name] = DomainSource([str(path)])
    return replace(
        request, domains=sources, sequence_length=2, validation_fraction=0.01, validation_max_tokens=SAMPLE_VALIDATION,
        tokenizer_sample_bytes=min(request.tokenizer_sample_bytes, TOKENIZER_BYTES),
    )  # fmt: skip


def _pieces(texts: Iterator[str], share: int) -> Iterator[str]:
    """Pieces of documents up to `share` characters in all."""
    for text in texts:
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            if not piece.isspace():
                yield piece
            share -= len(piece)
            if share <= 0:
                return


# -- counting --------------------------------------------------------------------------------------------------------


def _counted(plans: list[DomainPlan], rates: Mapping[str, float], limit: int) -> dict[str, dict[str, Any]]:
    """What the manifest will say of each domain, as `prepare` decides; `rates` are tokens a byte of each.

    Up to `limit` bytes of each domain's training text are read.
    """
    shared, held_out = Shared(), {}
    for plan in plans:
        held_out[plan.name] = _validation(plan, rates[plan.name], shared)
    return {plan.name: _domain(plan, rates[plan.name], limit, shared, held_out[plan.name]) for plan in plans}


def _nothing() -> dict[str, Any]:
    return {"documents": 0, "bytes": 0, "tokens": 0, "unknown": 0, "skipped": 0, "files": {}}


def _tokens(size: int, rate: float) -> int:
    """Of a document of `size` bytes, about."""
    return round(size * rate) + 1


def _add(count: dict[str, Any], size: int, rate: float) -> None:
    """One document of `size` bytes."""
    count["documents"] += 1
    count["bytes"] += size
    count["tokens"] += _tokens(size, rate)


def _validation(plan: DomainPlan, rate: float, shared: Shared) -> dict[str, Any]:
    holdout, given, found = Holdout(plan.rule, plan.request.validation_max_tokens), set[bytes](), list[Piece]()
    for _, piece in candidates(plan, holdout, given, _never):
        holdout.offer(piece.digest, _tokens(piece.size, rate))
        found.append(piece)
    kept, count = holdout.kept(), _nothing()
    for piece in found:
        if piece.digest in kept:
            _add(count, piece.size, rate)
    shared.held |= given | kept.keys()
    return count


def _domain(plan: DomainPlan, rate: float, limit: int, shared: Shared, validation: dict[str, Any]) -> dict[str, Any]:
    found, train, left = Counts(), _nothing(), limit
    for _, part in training_parts(plan, shared, found, _never):
        _add(train, part.size, rate)
        left -= part.size
        if left <= 0:
            _scale(train, _text(plan) / train["bytes"])
            break
    if not train["documents"]:
        raise DataError(f"domain {plan.name!r} has no training documents; give it more text")
    _scale(train, _more(plan))
    found.excluded = max(0, found.excluded - (not plan.files.validation) * validation["documents"])
    train["skipped"] = found.empty + found.excluded + found.dropped
    shared.seen.update(found.documents)
    split_off = 0 if plan.files.validation else validation["tokens"]
    size = {"tokens": train["tokens"] + split_off, "found": found.record()}
    return {"folder": folder_name(plan.name), **size, "train": train, "validation": validation}


def _text(plan: DomainPlan) -> float:
    """Bytes of text in the training files, about."""
    return sum(file.size * (PACKED if is_packed(file.path) else 1.0) for file in plan.files.train)


def _scale(count: dict[str, Any], factor: float) -> None:
    """What was read, scaled to what there is."""
    for what in ("documents", "bytes", "tokens"):
        count[what] = round(count[what] * max(1.0, factor))


def _grow(entry: dict[str, Any], factor: float) -> None:
    """What was read of files that all domains share, scaled to all of these."""
    before = entry["train"]["tokens"]
    _scale(entry["train"], factor)
    entry["tokens"] += entry["train"]["tokens"] - before


def _never() -> bool:
    return False
