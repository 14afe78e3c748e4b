"""About how much text a domain holds, from a few of its files: what `doremi init` shows of a terabyte in seconds."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass

from doremi.corpus.patterns import File
from doremi.corpus.peek import why_not
from doremi.corpus.place import Meter
from doremi.corpus.readers import read_shaped
from doremi.corpus.sampling import BYTES_PER_TOKEN
from doremi.corpus.sources import DomainFiles, DomainSource, find_files, paths
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.glance import count
from doremi.errors import DataError

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
    odd: tuple[str, ...] = ()
    """What is wrong with files that cannot be read."""
    bad: int = 0
    """Records that are no document, among those that were read."""


def found_at_a_glance(name: str, source: DomainSource) -> DomainFiles:
    """The files of a domain. Where there are many, none is opened to see whether it holds documents."""
    key = f"data.domains.{name}"
    found = find_files(source, key=key, look_inside=False)
    return found if len(all_files(found)) > FILES else find_files(source, key=key)


def glance(
    name: str, source: DomainSource, found: DomainFiles, *, skip_bad: bool = False, skip_odd: bool = False
) -> Glance:
    """Look at the files of a domain. Of many only some are opened, evenly over the order of their names' hashes.

    `DataError` for a record that is no document, unless such are to be skipped, and for a file that cannot be read,
    unless it is one of those to be skipped and another can be.
    """
    files = all_files(found)
    if source.ids is not None:
        return _of_tokens(name, source.ids, found)
    many = len(files) > FILES
    chosen = evenly(files)
    whole = not many and sum(file.size for file in files) <= WHOLE
    documents = text = read = 0
    bad, odd = Counter[str](), list[DataError]()
    for file in chosen:
        try:
            none = many and why_not(file, source.text_field)
            seen = _Seen() if none else _look(name, source, file, bad if skip_bad else None, whole=whole)
        except DataError as error:
            if not skip_odd:
                raise
            odd.append(error)
            continue
        documents, text, read = documents + seen.documents, text + seen.text, read + (seen.read or file.size)
    if not documents:
        _say_why(name, source, chosen, odd)
    factor = 1.0 if whole else sum(file.size for file in files) / max(1, read)
    wrong = tuple(map(str, odd))
    return Glance(found, round(documents * factor), round(text * factor), len(chosen), whole, wrong, bad.total())


def _of_tokens(name: str, ids: TokenIds, found: DomainFiles) -> Glance:
    """Their tokens by index or size, and about so much text."""
    files = all_files(found)
    chosen = evenly(files)
    counts = [count(name, file, ids) for file in chosen]
    factor = sum(file.size for file in files) / max(1, sum(file.size for file in chosen))
    tokens, documents = (factor * sum(column) for column in zip(*counts, strict=True))
    return Glance(found, round(documents), round(tokens * BYTES_PER_TOKEN), len(chosen), exact=False)


def _say_why(name: str, source: DomainSource, chosen: list[File], odd: list[DataError]) -> None:
    """Raise what is wrong with the first file, or with its first record, where no document was found."""
    if odd:
        raise odd[0]
    next(read_shaped(paths(chosen), shape=source.shape, domain=name), None)


def all_files(files: DomainFiles) -> list[File]:
    return [*files.train, *files.validation]


def evenly(files: list[File]) -> list[File]:
    """As many as are opened, evenly over the order of hashes; all where they are few."""
    if len(files) <= FILES:
        return files
    hashed = sorted(files, key=lambda file: hashlib.sha256(file.name.encode()).digest())
    return [hashed[i * len(hashed) // FILES] for i in range(FILES)]


@dataclass
class _Seen:
    documents: int = 0
    text: int = 0
    read: int = 0
    """Bytes of the file, as it lies on the disk; 0 for all of it."""


def _look(name: str, source: DomainSource, file: File, bad: Counter[str] | None, *, whole: bool) -> _Seen:
    """What a file holds: all of it, or as far as it is read. Records that are no document are counted in `bad`."""
    seen, meter = _Seen(), Meter()
    documents = read_shaped([file.path], shape=source.shape, domain=name, meter=meter, skipped=bad)
    with closing(documents):  # pyright: ignore[reportArgumentType]
        for document in documents:
            seen.documents += 1
            seen.text += len(document.text.encode())
            if seen.text >= BEGINNING and not whole:
                seen.read = 0 if _is_text(file) else max(1, min(file.size, meter.bytes))
                break
    return seen


def _is_text(file: File) -> bool:
    form = file.format
    return form is not None and form.container == "text"
