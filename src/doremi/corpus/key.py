"""The key of a corpus: what was asked for, and how its files look from outside. No file is opened to know it.

A file counts by its name below what its pattern names, its size and its time (or what its address knows), in the order
in which it is read. So data may be moved as a whole, and a corpus is found again in no time. What the bytes of the
files were is in sources.json, and what models see of them is the fingerprint's matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from doremi.corpus.parts import METHOD, PrepareRequest
from doremi.corpus.patterns import File
from doremi.corpus.sources import DomainSource, find_all
from doremi.files import FORMAT, key_of


def corpus_key(request: PrepareRequest) -> str:
    """SHA-256 over all that a corpus depends on, its domains in their order; `DataError` as `find_all` raises it."""
    found = find_all(request.domains, look_inside=False)
    domains = [
        [name, source.text_field, _looks(files.train), _looks(files.validation), *_sample(source), *source.said]
        for name, files in found.items()
        if (source := request.domains[name])
    ]
    return key_of(
        {
            "format": FORMAT,
            "method": METHOD,
            "domains": domains,
            "tokenizer": _tokenizer(request),
            "validation": [request.validation_fraction, request.validation_max_tokens],
            "records": [request.skip_bad_records, request.drop_duplicates],
        }
    )


def _sample(source: DomainSource) -> list[int]:
    """Nothing for a domain that is read whole, as ever."""
    return [] if source.sample_tokens is None else [source.sample_tokens]


def _looks(files: Iterable[File]) -> list[tuple[str, int, str]]:
    return [(file.name, file.size, file.version) for file in files]


def _tokenizer(request: PrepareRequest) -> object:
    """A local tokenizer by how its files look, one of the hub by its name, one to train by what it is trained on."""
    if request.tokenizer is None:
        return {"vocab_size": request.vocab_size, "sample_bytes": request.tokenizer_sample_bytes}
    place = Path(request.tokenizer).expanduser()
    if not os.path.exists(place):  # noqa: PTH110 - pathlib's fails for names that are no paths
        return request.tokenizer
    files = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    looks = [(path, path.stat()) for path in files]
    return [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in looks]
