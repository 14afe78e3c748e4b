"""Parquet, and Arrow as a file (Feather) or a stream (what `datasets` saves).

Their library takes 0.2 s to import, so only who reads such files pays for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from doremi.corpus.excerpt import opened_exactly
from doremi.corpus.place import Place, not_utf8, some
from doremi.corpus.shape import Document, Shape, heads
from doremi.corpus.unpack import BLOCK, UNREADABLE

_ROWS = 64  # rows at a time: documents of 1 MB make that 64 MB
_TAIL = 8  # bytes at the end of a Parquet file: how long what is before them is, and a mark
_END_MARK = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream


def parquet_documents(raw: BinaryIO, place: Place, shape: Shape) -> Iterator[Document | None]:
    """Row by row."""
    import pyarrow
    from pyarrow import parquet

    part = place.excerpt
    place.unit = "row" if part is None else part.unit
    known, groups = (None, None) if part is None else (part.footer, list(part.row_groups))
    try:
        # A buffered column, not whole row groups: a row group may hold gigabytes.
        with parquet.ParquetFile(raw, metadata=known, buffer_size=BLOCK, pre_buffer=False) as table:
            size = raw.seek(0, os.SEEK_END)  # whoever reads the table goes where it must
            columns = _columns(table.schema_arrow, place, shape)
            rows = max(1, table.metadata.num_rows)
            with place.meter.of(lambda: size * place.number // rows):
                for batch in table.iter_batches(_ROWS, row_groups=groups, columns=columns):
                    yield from _rows(batch, place, shape)
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
        raise Place(domain, file).unreadable(error) from None


def arrow_documents(raw: BinaryIO, place: Place, shape: Shape) -> Iterator[Document | None]:
    """Row by row, of a file or of a stream."""
    import pyarrow

    place.unit = "row"
    try:
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        with place.meter.of(raw.tell):
            for batch in _batches(raw, place, shape, is_file=is_file):
                _check_places(batch)
                for start in range(0, batch.num_rows, _ROWS):
                    yield from _rows(batch.slice(start, _ROWS), place, shape)
        if not is_file:
            raw.seek(-len(_END_MARK), os.SEEK_END)
            if raw.read() != _END_MARK:
                raise EOFError("the stream has no end mark; is it cut off?")
    except (
        *UNREADABLE,
        pyarrow.ArrowException,
        ValueError,
        MemoryError,
    ) as error:  # lengths of a damaged file are huge
        raise place.unreadable(error) from None


def _batches(raw: BinaryIO, place: Place, shape: Shape, *, is_file: bool) -> Iterator[Any]:
    from pyarrow import ipc

    if is_file:
        with ipc.open_file(raw) as table:
            columns = _columns(table.schema, place, shape)
            yield from (table.get_batch(i).select(columns) for i in range(table.num_record_batches))
    else:
        with ipc.open_stream(raw) as stream:
            columns = _columns(stream.schema, place, shape)
            yield from (batch.select(columns) for batch in stream)


def _check_places(batch: Any) -> None:
    """`ArrowInvalid` where values would lie outside their column. Read all the same, they would end the process.

    Text that is not UTF-8 lies where it should, and is told of in its row."""
    import pyarrow

    for column in batch.columns:
        try:
            column.validate(full=True)
        except pyarrow.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise


def _rows(batch: Any, place: Place, shape: Shape) -> Iterator[Document | None]:
    columns = list(zip(batch.schema.names, batch.columns, strict=True))
    for row in range(batch.num_rows):
        place.number += 1
        try:
            record = {name: column[row].as_py() for name, column in columns}
        except UnicodeDecodeError as wrong:
            place.refuse("not UTF-8", not_utf8(wrong))
            continue
        yield shape.document(record, place, "column")


# -- columns ---------------------------------------------------------------------------------------------------------


def _columns(schema: Any, place: Place, shape: Shape) -> list[str]:
    """The columns that hold what is asked for; `DataError` where one is missing, or the text is none."""
    found = {field: _column(schema, field) for field in shape.fields}
    for field, (column, kind) in found.items():
        if column is None or kind is None:
            raise place.error(
                f"has no column {field!r}; it has {some(_names(schema))}; "
                + ("set text_field to the right one" if field == shape.text_field else "correct its name")
            )
    _check_text(found[shape.text_field][1], place, shape)
    return list(dict.fromkeys(column for column, _ in found.values() if column is not None))


def _column(schema: Any, path: str) -> tuple[str | None, Any]:
    """The column that a dotted path begins in, and the type at its end; None where there is none, or two."""
    if schema.names.count(path) == 1:
        return path, schema.field(path).type
    for head, rest in heads(path):
        if schema.names.count(head) == 1 and (kind := _inside(schema.field(head).type, rest)) is not None:
            return head, kind
    return None, None


def _inside(kind: Any, path: str) -> Any:
    """The type at a dotted path in a type: a list of it where a list is on the way."""
    import pyarrow
    from pyarrow import types

    if _is_list(kind):
        inner = _inside(kind.value_type, path)
        return None if inner is None else pyarrow.list_(inner)
    if not types.is_struct(kind):
        return None
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    if path in fields:
        return fields[path]
    inner = (_inside(fields[head], rest) for head, rest in heads(path) if head in fields)
    return next((one for one in inner if one is not None), None)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return any(
        test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)
    )


def _names(schema: Any) -> list[str]:
    """Columns, and the fields of those that hold fields."""
    from pyarrow import types

    names = []
    for column in schema:
        inner = column.type.value_type if _is_list(column.type) else column.type
        fields = [inner.field(i).name for i in range(inner.num_fields)] if types.is_struct(inner) else []
        names += [f"{column.name}.{name}" for name in fields] or [column.name]
    return names


def _check_text(kind: Any, place: Place, shape: Shape) -> None:
    from pyarrow import types

    held = kind
    while _is_list(held):
        if shape.join is None:
            raise place.error(
                f"column {shape.text_field!r} holds {kind}, not text; set join to what stands between its parts"
            )
        held = held.value_type
    held = held.value_type if types.is_dictionary(held) else held
    if types.is_struct(held):
        names = some(f"{shape.text_field}.{held.field(i).name}" for i in range(held.num_fields))
        raise place.error(f"column {shape.text_field!r} holds fields, not text; set text_field to one of {names}")
    if not (types.is_string(held) or types.is_large_string(held) or types.is_string_view(held)):
        raise place.error(f"column {shape.text_field!r} holds {kind}, not text; set text_field to a text column")
