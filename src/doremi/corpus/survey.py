"""What a corpus that is not prepared yet will hold, and how long preparing it takes: read, but not tokenized.

Documents and bytes are counted where the files are not too large to be read in a minute, and scaled by the files' sizes
where they are. Tokens are estimated from a sample that is really prepared, in a temporary folder, and so is the time.
Validation documents are those that the hash of their text will choose.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from doremi.corpus.prepare import DomainSource, PrepareRequest, prepare
from doremi.corpus.readers import expand, file_size, read_documents
from doremi.corpus.validation import DISTINCT, Holdout, Rule, digest_of, make_rule
from doremi.domains import folder_name
from doremi.errors import DataError
from doremi.files import FORMAT
from doremi.runs import Corpus

READ_BYTES = 512 * 2**20  # of text over all domains; what lies beyond is scaled
SAMPLE_BYTES = 8 * 10**6  # of text over all domains, really prepared
SMALL_SHARE = 8  # of it, for what does not grow with the text
TOKENIZER_BYTES = 4 * 10**6
PIECE = 2000  # characters: a sample of long documents is cut, so that it holds enough of them
PACKED = 3.5  # bytes of text in a byte of a compressed file, where it is not read to its end


def survey(request: PrepareRequest, folder: Path) -> dict[str, Any]:
    """`manifest`, like a corpus's but estimated, and `seconds` to prepare it; works in the empty `folder`.

    `DataError` for files that cannot be read.
    """
    sampled, seconds = _sampled(request, folder)
    tokenizer = sampled.manifest["tokenizer"]
    domains = {}
    for name, entry in sampled.manifest["domains"].items():
        part = entry["train"]
        rate = max(1e-3, (part["tokens"] - part["documents"]) / part["bytes"])
        domains[name] = {"folder": folder_name(name), "epochs": float(request.domains[name].epochs)}
        domains[name] |= _counted(name, request, rate)
    described = {key: tokenizer[key] for key in ("sha256", "end_of_text", "end_of_text_id")}
    described["vocab_size"] = tokenizer["vocab_size"] if request.tokenizer else request.vocab_size
    text = sum(entry[split]["bytes"] for entry in domains.values() for split in ("train", "validation"))
    manifest = {"format": FORMAT, "tokenizer": described, "dtype": sampled.manifest["dtype"], "domains": domains}
    return {"manifest": {**manifest, "fingerprint": ""}, "seconds": seconds["fixed"] + seconds["a_byte"] * text}


# -- a sample, really prepared ---------------------------------------------------------------------------------------


def _sampled(request: PrepareRequest, folder: Path) -> tuple[Corpus, dict[str, float]]:
    """The sample prepared with a tokenizer of its own, and seconds: fixed ones, and those that grow with the text."""
    share = SAMPLE_BYTES // len(request.domains)
    large = _sample_request(request, folder / "large", share)
    small = _sample_request(request, folder / "small", max(share // SMALL_SHARE, PIECE * DISTINCT))
    _prepared(small, folder / "warm-up")  # what only the first preparation of a process pays for is not the tokenizer
    corpus, first = _prepared(large, folder / "first")
    known = str(folder / "first" / "tokenizer" / "tokenizer.json")
    big, again = _prepared(replace(large, tokenizer=known), folder / "again")
    little, least = _prepared(replace(small, tokenizer=known), folder / "least")
    a_byte = max(0.0, (again - least) / max(1, _bytes(big) - _bytes(little)))
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


def _sample_request(request: PrepareRequest, folder: Path, share: int) -> PrepareRequest:
    """The same request of the first `share` bytes of each domain."""
    folder.mkdir()
    sources = {}
    for name, source in request.domains.items():
        path = folder / f"{folder_name(name)}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for text in _pieces(_texts(name, source, source.train), share):
                file.write(json.dumps({"text": text}) + "\n")
        sources[name] = DomainSource([str(path)])
    return replace(
        request, domains=sources, sequence_length=2, validation_fraction=0.01, validation_max_tokens=1,
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


def _texts(name: str, source: DomainSource, patterns: Any) -> Iterator[str]:
    files = expand(patterns, key=f"data.domains.{name}")
    return read_documents(files, text_field=source.text_field, domain=name)


# -- counting --------------------------------------------------------------------------------------------------------


def _counted(name: str, request: PrepareRequest, rate: float) -> dict[str, dict[str, Any]]:
    """A domain's `train` and `validation` counts; `rate` is tokens a byte. As `prepare` decides, in the same order."""
    source = request.domains[name]
    limit, counts = READ_BYTES // len(request.domains), {split: _nothing() for split in ("train", "validation")}
    fraction = 1.0 if source.validation else request.validation_fraction
    with closing(_texts(name, source, source.validation or source.train)) as texts:  # type: ignore[type-var]
        rule, _ = make_rule((digest_of(text.encode()) for text in texts if text.strip()), fraction)
    holdout, left = Holdout(rule, request.validation_max_tokens), limit
    for text in _texts(name, source, source.validation) if source.validation else ():
        _take(text, holdout, counts["validation"], None, rate)
        if holdout.full:
            break
    if source.validation:  # nothing more is held out
        holdout = Holdout(Rule(0.0), 1, kept=holdout.kept)
    for text in _texts(name, source, source.train):
        left -= _take(text, holdout, counts["validation"], counts["train"], rate)
        if left <= 0:
            break
    if left <= 0:
        _scale(counts["train"], name, source)
    for count in counts.values():
        count["tokens"] = round(count["bytes"] * rate) + count["documents"]
    if not counts["train"]["documents"]:
        raise DataError(f"domain {name!r} has no training documents; give it more text")
    return counts


def _nothing() -> dict[str, Any]:
    return {"documents": 0, "bytes": 0, "tokens": 0, "skipped": 0, "files": {}}


def _take(text: str, holdout: Holdout, validation: dict[str, Any], train: dict[str, Any] | None, rate: float) -> int:
    """Count one document where it belongs; its bytes."""
    data = text.encode()
    digest = digest_of(data)
    if not text.strip() or digest in holdout.kept:
        return len(data)
    chosen = train if holdout.take(digest, round(len(data) * rate) + 1) is None else validation
    if chosen is not None:
        chosen["documents"] += 1
        chosen["bytes"] += len(data)
    return len(data)


def _scale(count: dict[str, Any], name: str, source: DomainSource) -> None:
    """What was read of large files, scaled to all of them."""
    files = expand(source.train, key=f"data.domains.{name}")
    text = sum(file_size(file) * (1.0 if file.endswith((".jsonl", ".txt")) else PACKED) for file in files)
    factor = max(1.0, text / count["bytes"])
    count["documents"], count["bytes"] = round(count["documents"] * factor), round(count["bytes"] * factor)
