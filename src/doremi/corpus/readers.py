"""Documents out of files: JSON lines, JSON arrays, Parquet and plain text, packed or not, local or at any address.

Everything streams but a JSON array: memory holds one document and one block of its file, however large the file is.
Whatever is wrong with a file is a `DataError` of one line that names the domain, the file and the line or row (counted
from 1). A single bad record may be skipped instead, and is counted by reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO

import orjson

from doremi.corpus.excerpt import Excerpt, opened_exactly
from doremi.corpus.formats import Format, format_of
from doremi.corpus.unpack import BLOCK, UNREADABLE, opened, unpacked
from doremi.errors import DataError, one_line, reason_of

MOST_LINE_BYTES = 256 << 20  # of JSON; more is no document but a file without line breaks, or one made to fill memory
_ROWS = 64  # Parquet rows at a time: documents of 1 MB make that 64 MB
_TAIL = 8  # bytes at the end of a Parquet file: how long what is before them is, and a mark
_BOM = b"\xef\xbb\xbf"


# -- reading ---------------------------------------------------------------------------------------------------------


class Meter:
    """How many bytes of the files of one reading are read, packed ones as they lie on the disk."""

    def __init__(self) -> None:
        self._before, self._here = 0, _nothing

    @property
    def bytes(self) -> int:
        return self._before + self._here()

    def begin(self) -> None:
        """Another reading."""
        self._before, self._here = 0, _nothing

    @contextmanager
    def of(self, here: Callable[[], int]) -> Iterator[None]:
        """While a file is open, `here` says how much of it is read."""
        self._here = here
        try:
            yield
        finally:
            self._before, self._here = self._before + here(), _nothing


def _nothing() -> int:
    return 0


@dataclass
class _Place:
    """Where the reader is, for errors; `number` 0 means the file as a whole."""

    domain: str
    file: str
    unit: str = "line"
    number: int = 0
    skipped: Counter[str] | None = None
    """Bad records by reason, where they are skipped."""
    meter: Meter = field(default_factory=Meter)
    excerpt: Excerpt | None = None
    """The part of the file that is read; None for all of it."""

    def opened(self) -> AbstractContextManager[BinaryIO]:
        return opened(self.file) if self.excerpt is None else opened_exactly(self.file)

    def error(self, what: str) -> DataError:
        where = f", {self.unit} {self.number}" if self.number else ""
        return DataError(one_line(f"domain {self.domain!r}: {self.file}{where}: {what}"))

    def refuse(self, reason: str, what: str) -> None:
        """A record that is no document: counted under `reason` where such are skipped, else the end."""
        if self.skipped is None:
            raise self.error(f"{what} (or set data.on_bad_record to skip)")
        self.skipped[reason] += 1

    def unreadable(self, error: BaseException) -> DataError:
        after = f" after {self.unit} {self.number}" if self.number else ""
        return DataError(
            one_line(
                f"domain {self.domain!r}: {self.file}: cannot be read{after} ({reason_of(error)}); "
                "check that the file is complete and may be read, or make it again"
            )
        )


def read_documents(
    files: Iterable[str],
    *,
    text_field: str,
    domain: str,
    skipped: Counter[str] | None = None,
    meter: Meter | None = None,
    excerpt: Excerpt | None = None,
) -> Iterator[str]:
    """The texts of all documents in order, empty ones included; `text_field` names the JSON field or Parquet column.

    A text file is one document. Blank lines between JSON lines and a byte-order mark are passed over. Records that are
    no document are counted in `skipped`, by reason, where it is given. `DataError` for whatever else cannot be read,
    and for such records where it is not: it names `domain`, the file, and the line or row. `meter` shows how far it is.
    `excerpt` is the part that is read of a single file.
    """
    meter = meter or Meter()
    meter.begin()
    for file in files:
        place = _Place(domain, file, skipped=skipped, meter=meter, excerpt=excerpt)
        if excerpt is not None:
            place.unit = excerpt.unit
        form = format_of(file) or Format("lines")
        if form.container == "parquet":
            texts = _parquet(place, text_field)
        elif form.container == "text":
            texts = _plain_text(place, form)
        else:
            texts = _json(place, form, text_field)
        yield from (text for text in texts if text is not None)


def _json(place: _Place, form: Format, text_field: str) -> Iterator[str | None]:
    try:
        with place.opened() as raw, place.meter.of(raw.tell):
            blocks = unpacked(raw if place.excerpt is None else place.excerpt.of(raw), form.packing)
            if form.container == "json":
                first = next(blocks, b"")
                blocks = chain([first], blocks)
                if first.removeprefix(_BOM).lstrip()[:1] == b"[":
                    yield from _array(b"".join(_bounded(blocks, place)), text_field, place)
                    return
            for line in _lines(blocks, place):
                record = line.removeprefix(_BOM) if place.number == 1 else line
                if record and not record.isspace():
                    yield _text_of(record, text_field, place)
    except UNREADABLE as error:
        raise place.unreadable(error) from None


def _array(data: bytes, text_field: str, place: _Place) -> Iterator[str | None]:
    try:
        records = orjson.loads(data.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise place.error(_why_not_json(data, error)[1]) from None
    place.unit = "record"
    for record in records:
        place.number += 1
        yield _text_in(record, text_field, place)


def _bounded(blocks: Iterable[bytes], place: _Place) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > MOST_LINE_BYTES:
            raise place.error(f"is one array of over {MOST_LINE_BYTES:,} bytes; write one record a line instead")
        yield block


def _lines(blocks: Iterable[bytes], place: _Place) -> Iterator[bytes]:
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


def _text_of(line: bytes, text_field: str, place: _Place) -> str | None:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        place.refuse(*_why_not_json(line, error))
        return None
    return _text_in(record, text_field, place)


def _text_in(record: object, text_field: str, place: _Place) -> str | None:
    if not isinstance(record, dict):
        place.refuse(
            "not an object",
            f'is JSON but not an object; write each document as {{"{text_field}": "..."}} on its own line',
        )
        return None
    if text_field not in record:
        place.refuse(
            f"no field {text_field!r}",
            f"has no field {text_field!r}; it has {_some(record)}; set text_field to the right one",
        )
        return None
    return _checked(record[text_field], f"field {text_field!r}", place)


def _why_not_json(line: bytes, error: Exception) -> tuple[str, str]:
    """The reason that it counts under, and the message."""
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return "not UTF-8", _not_utf8(wrong)
    if "surrogate" in str(error):
        return "lone surrogate", f"has half of a surrogate pair, which is no character ({error}); correct or remove it"
    return "not JSON", f"is not JSON ({error}); correct or remove the line"


def _not_utf8(wrong: UnicodeDecodeError) -> str:
    return f"is not valid UTF-8 at byte {wrong.start + 1} ({wrong.reason}); convert the text to UTF-8"


def _checked(text: object, what: str, place: _Place) -> str | None:
    if not isinstance(text, str):
        kind = _kind(text)
        place.refuse(kind, f"{what} is {kind}, not text; give a string or another text_field")
        return None
    if "\0" in text:
        place.refuse("NUL", f"{what} has a NUL character at position {text.index(chr(0)) + 1}; is it binary? remove it")
        return None
    return text


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _plain_text(place: _Place, form: Format) -> Iterator[str | None]:
    try:
        with opened(place.file) as raw, place.meter.of(raw.tell):
            data = b"".join(unpacked(raw, form.packing)).removeprefix(_BOM)
        yield _checked(data.decode(), "the text", place)
    except UnicodeDecodeError as wrong:
        place.number = wrong.object.count(b"\n", 0, wrong.start) + 1
        place.refuse("not UTF-8", _not_utf8(wrong))
    except UNREADABLE as error:
        raise place.unreadable(error) from None


# -- Parquet (its library takes 0.2 s to import, so only who reads Parquet pays for it) -------------------------------


def _parquet(place: _Place, text_field: str) -> Iterator[str | None]:
    import pyarrow
    from pyarrow import parquet

    part = place.excerpt
    place.unit = "row" if part is None else part.unit
    known, groups = (None, None) if part is None else (part.footer, list(part.row_groups))
    try:
        # A buffered column, not whole row groups: a row group may hold gigabytes.
        with (
            place.opened() as raw,
            parquet.ParquetFile(raw, metadata=known, buffer_size=BLOCK, pre_buffer=False) as table,
        ):
            size = raw.seek(0, os.SEEK_END)  # whoever reads the table goes where it must
            _check_column(table.schema_arrow, text_field, place)
            rows = max(1, table.metadata.num_rows)
            with place.meter.of(lambda: size * place.number // rows):
                for batch in table.iter_batches(_ROWS, row_groups=groups, columns=[text_field]):
                    for value in batch.column(0):
                        place.number += 1
                        yield _cell(value, text_field, place)
    except (*UNREADABLE, pyarrow.ArrowException, ValueError) as error:
        raise place.unreadable(error) from None


def parquet_footer(file: str, domain: str) -> Any:
    """What the end of a Parquet file says of its row groups, and nothing else of it is read.

    `DataError` as for its documents."""
    import pyarrow
    from pyarrow import parquet

    try:
        with opened_exactly(file) as raw:
            raw.seek(-_TAIL, os.SEEK_END)
            tail = raw.read(_TAIL)
            length = int.from_bytes(tail[:4], "little")
            raw.seek(-_TAIL - length, os.SEEK_END)
            return parquet.read_metadata(pyarrow.BufferReader(raw.read(length) + tail))
    except (*UNREADABLE, pyarrow.ArrowException, ValueError) as error:
        raise _Place(domain, file).unreadable(error) from None


def _cell(value: Any, text_field: str, place: _Place) -> str | None:
    try:
        text = value.as_py()
    except UnicodeDecodeError as wrong:
        place.refuse("not UTF-8", _not_utf8(wrong))
        return None
    return _checked(text, f"column {text_field!r}", place)


def _check_column(schema: Any, text_field: str, place: _Place) -> None:
    from pyarrow import types

    if schema.names.count(text_field) != 1:
        raise place.error(
            f"has no column {text_field!r}; it has {_some(schema.names)}; set text_field to the right one"
        )
    kind = schema.field(text_field).type
    held = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(held) or types.is_large_string(held) or types.is_string_view(held)):
        raise place.error(f"column {text_field!r} holds {kind}, not text; set text_field to a text column")


# -- words for errors ------------------------------------------------------------------------------------------------


def _some(names: Iterable[str]) -> str:
    """The first names in quotes: they come from the data, so they are shortened and escaped."""
    shown = [repr(name[:40]) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "") or "no fields"
