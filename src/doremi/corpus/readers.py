"""Documents out of files: JSON lines, JSON arrays, tables, archives and plain text, packed or not, at any address.

Everything streams but a JSON array: memory holds one document and one block of its file, however large the file is.
Whatever is wrong with a file is a `DataError` of one line that names the domain, the file and the line or row (counted
from 1). A single bad record may be skipped instead, and is counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from doremi.corpus.archives import tar_documents
from doremi.corpus.delimited import table_documents
from doremi.corpus.excerpt import Excerpt, opened_exactly
from doremi.corpus.formats import DELIMITERS, Format, format_of, text_format
from doremi.corpus.lines import BOM, json_documents
from doremi.corpus.place import Meter, Place, not_utf8
from doremi.corpus.shape import Document, Shape
from doremi.corpus.tables import arrow_documents, parquet_documents
from doremi.corpus.unpack import UNREADABLE, opened, unpacked


def read_shaped(
    files: Iterable[str],
    *,
    shape: Shape,
    domain: str,
    skipped: Counter[str] | None = None,
    left_out: Counter[str] | None = None,
    meter: Meter | None = None,
    excerpt: Excerpt | None = None,
) -> Iterator[Document]:
    """All documents in order, empty ones included; `shape` says what of a record they are.

    A text file is one document. Blank lines between JSON lines and a byte-order mark are passed over. Records that are
    no document are counted in `skipped`, by reason, where it is given. `DataError` for whatever else cannot be read,
    and for such records where it is not: it names `domain`, the file, and the line or row. What `shape` does not ask
    for is counted in `left_out`. `meter` shows how far it is. `excerpt` is the part that is read of a single file.
    """
    meter = meter or Meter()
    meter.begin()
    for file in files:
        place = Place(domain, file, skipped=skipped, meter=meter, excerpt=excerpt)
        place.unit = place.unit if excerpt is None else excerpt.unit
        place.left_out = place.left_out if left_out is None else left_out
        yield from (document for document in _of_file(place, shape) if document is not None)


def read_documents(
    files: Iterable[str],
    *,
    text_field: str,
    domain: str,
    skipped: Counter[str] | None = None,
    meter: Meter | None = None,
    excerpt: Excerpt | None = None,
) -> Iterator[str]:
    """The texts of all records, of which `text_field` names the JSON field or the column."""
    found = read_shaped(files, shape=Shape(text_field), domain=domain, skipped=skipped, meter=meter, excerpt=excerpt)
    return (document.text for document in found)


def _of_file(place: Place, shape: Shape) -> Iterator[Document | None]:
    form = format_of(place.file) or text_format(place.file)
    try:
        with opened(place.file) if place.excerpt is None else opened_exactly(place.file) as raw:
            if form.container == "parquet":
                yield from parquet_documents(raw, place, shape)
            elif form.container == "arrow":
                yield from arrow_documents(raw, place, shape)
            else:
                with place.meter.of(raw.tell):
                    yield from _streamed(place.excerpt.of(raw) if place.excerpt else raw, form, place, shape)
    except UNREADABLE as error:
        raise place.unreadable(error) from None


def _streamed(raw: BinaryIO, form: Format, place: Place, shape: Shape) -> Iterator[Document | None]:
    """The documents of what can be read from its beginning to its end."""
    blocks = unpacked(raw, form.packing)
    if form.container == "text":
        yield from _plain_text(blocks, place, shape)
    elif form.container in DELIMITERS:
        yield from table_documents(blocks, place, shape, DELIMITERS[form.container])
    elif form.container == "tar":
        yield from tar_documents(blocks, place, lambda file, kind, inside: _streamed(file, kind, inside, shape))
    else:
        yield from json_documents(blocks, place, shape, array=form.container == "json")


def _plain_text(blocks: Iterator[bytes], place: Place, shape: Shape) -> Iterator[Document | None]:
    if shape.needs_records:
        raise place.error(
            f"is plain text and has no field {shape.fields[1]!r}; give files with fields, or ask for none"
        )
    try:
        text = place.checked(b"".join(blocks).removeprefix(BOM).decode(), "the text")
    except UnicodeDecodeError as wrong:
        place.number = wrong.object.count(b"\n", 0, wrong.start) + 1
        place.refuse("not UTF-8", not_utf8(wrong))
    else:
        yield None if text is None else Document(text)
