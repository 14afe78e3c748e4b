"""About how much text a domain holds, from a few of its files: what `doremi init` shows of a terabyte in seconds."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

from doremi.corpus.formats import format_of
from doremi.corpus.readers import Meter, read_documents
from doremi.corpus.sources import DomainFiles, DomainSource, File, find_files, is_recordless

FILES = 20  # of a domain that are opened at most
WHOLE = 64 << 20  # bytes of a domain's files that are read to their end
BEGINNING = 1 << 20  # bytes of text that are read of each file of a larger domain


@dataclass(frozen=True)
class Glance:
    """What a domain holds, validation files included. Where not all was read, it is an estimate by the files' sizes."""

    files: DomainFiles
    documents: int
    bytes: int
    """UTF-8 bytes of text."""
    opened: int
    exact: bool


def found_at_a_glance(name: str, source: DomainSource) -> DomainFiles:
    """The files of a domain. Where there are many, none is opened to see whether it holds documents."""
    key = f"domain {name!r}"
    found = find_files(source, key=key, look_inside=False)
    return found if len(_all(found)) > FILES else find_files(source, key=key)


def glance(name: str, source: DomainSource, found: DomainFiles, *, skip_bad: bool = False) -> Glance:
    """Look at the files of a domain. Of many only some are opened, evenly over the order of their names' hashes.

    `DataError` for a file that cannot be read.
    """
    many = len(_all(found)) > FILES
    files = _all(found)
    chosen = _evenly(files) if many else files
    whole = not many and sum(file.size for file in files) <= WHOLE
    documents = text = read = 0
    for file in chosen:
        none = many and is_recordless(file, source.text_field)
        seen = _Seen() if none else _look(name, source, file, whole=whole, skip_bad=skip_bad)
        documents, text, read = documents + seen.documents, text + seen.text, read + (seen.read or file.size)
    factor = 1.0 if whole else sum(file.size for file in files) / max(1, read)
    return Glance(found, round(documents * factor), round(text * factor), len(chosen), whole)


def _all(files: DomainFiles) -> list[File]:
    return [*files.train, *files.validation]


def _evenly(files: list[File]) -> list[File]:
    """As many as are opened, evenly over the order of hashes."""
    hashed = sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).digest())
    return [hashed[i * len(hashed) // FILES] for i in range(FILES)]


@dataclass
class _Seen:
    documents: int = 0
    text: int = 0
    read: int = 0
    """Bytes of the file, as it lies on the disk; 0 for all of it."""


def _look(name: str, source: DomainSource, file: File, *, whole: bool, skip_bad: bool) -> _Seen:
    """What a file holds: all of it, or as far as it is read."""
    seen, meter = _Seen(), Meter()
    skipped = Counter[str]() if skip_bad else None
    texts = read_documents([file.path], text_field=source.text_field, domain=name, skipped=skipped, meter=meter)
    with closing(texts):  # pyright: ignore[reportArgumentType]
        for text in texts:
            seen.documents += 1
            seen.text += len(text.encode())
            if seen.text >= BEGINNING and not whole:
                seen.read = 0 if _is_text(file) else max(1, min(file.size, meter.bytes))
                break
    return seen


def _is_text(file: File) -> bool:
    form = format_of(file.path)
    return form is not None and form.container == "text"
