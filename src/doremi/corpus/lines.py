"""JSON: one record a line, or one array of records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import orjson

from doremi.corpus.place import Place, not_utf8
from doremi.corpus.shape import Document, Shape

MOST_LINE_BYTES = 256 << 20  # more is no document but a file without line breaks, or one made to fill memory
BOM = b"\xef\xbb\xbf"


def json_documents(blocks: Iterator[bytes], place: Place, shape: Shape, *, array: bool) -> Iterator[Document | None]:
    """Blank lines and a byte-order mark are passed over. Where it may be an `array`, its first letter tells."""
    if array:
        first = next(blocks, b"")
        blocks = chain([first], blocks)
        if first.removeprefix(BOM).lstrip()[:1] == b"[":
            yield from _array(b"".join(_bounded(blocks, place)), place, shape)
            return
    for line in lines(blocks, place):
        record = line.removeprefix(BOM) if place.number == 1 else line
        if record and not record.isspace():
            yield _document(record, place, shape)


def _array(data: bytes, place: Place, shape: Shape) -> Iterator[Document | None]:
    try:
        records = orjson.loads(data.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        raise place.error(_why_not_json(data, error)[1]) from None
    place.unit = "record"
    for record in records:
        place.number += 1
        yield shape.document(record, place)


def _bounded(blocks: Iterable[bytes], place: Place) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > MOST_LINE_BYTES:
            raise place.error(f"is one array of over {MOST_LINE_BYTES:,} bytes; write one record a line instead")
        yield block


def lines(blocks: Iterable[bytes], place: Place) -> Iterator[bytes]:
    """Lines without their newline, counted in `place`; a line's pieces are joined once, so that one of 100 MB costs no
    more than many. `DataError` as soon as one is longer than `MOST_LINE_BYTES`."""
    held: list[bytes] = []
    size = 0
    for block in blocks:
        first, *rest = block.split(b"\n")
        held.append(first)
        size += len(first)
        if size > MOST_LINE_BYTES:
            place.number += 1
            raise place.error(
                f"is longer than {MOST_LINE_BYTES:,} bytes; write each document on a line of its own, "
                "and split those that are longer"
            )
        if rest:
            for line in (b"".join(held), *rest[:-1]):
                place.number += 1
                yield line
            held, size = [rest[-1]], len(rest[-1])
    if any(held):
        place.number += 1
        yield b"".join(held)


def _document(line: bytes, place: Place, shape: Shape) -> Document | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        place.refuse(*_why_not_json(line, error))
        return None
    return shape.document(record, place)


def _why_not_json(line: bytes, error: Exception) -> tuple[str, str]:
    """The reason that it counts under, and the message."""
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return "not UTF-8", not_utf8(wrong)
    if "surrogate" in str(error):
        return "lone surrogate", f"has half of a surrogate pair, which is no character ({error}); correct or remove it"
    return "not JSON", f"is not JSON ({error}); correct or remove the line"
