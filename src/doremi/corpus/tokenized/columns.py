"""Tables with a column of token ids. Arrow is used where it lies. What is compressed is unpacked.

Their library takes 0.2 s to import, so only who reads such files pays for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.place import some
from doremi.corpus.store import disk_errors
from doremi.corpus.tokenized.flat import table_of
from doremi.corpus.tokenized.layout import FileError, Layout, Table, check_said, dtype_of
from doremi.corpus.tokenized.numbers import check_ids

UNPACKED = "is compressed, so its tokens were unpacked into the corpus folder"
_ROWS = 4096  # of Parquet that are unpacked at a time


@dataclass(frozen=True)
class Unpacking:
    """Where tokens that are compressed go, and what they must be."""

    folder: Path
    name: str
    """Of the file, without its ending."""
    dtype: str
    vocab_size: int


def arrow(path: Path, field: str, said: str, unpacking: Unpacking) -> Layout:
    """An Arrow file or stream. `FileError` for a column that holds no ids."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        whole = source.read_buffer()
        parts, dtype = [], None
        source.seek(0)
        for column in _arrow_columns(source, field):
            dtype = _checked_type(column.type, field)
            check_said(said, dtype, f"column {field!r}")
            place = _place(column, whole)
            if place is None:
                break
            parts.append(place)
        else:
            return _in_place(path, dtype or dtype_of("int32"), parts)
        source.seek(0)
        return _unpacked(path, _arrow_columns(source, field), said, field, unpacking)


def parquet(path: Path, field: str, said: str, unpacking: Unpacking) -> Layout:
    """Parquet packs its numbers, so they are always unpacked."""
    from pyarrow import parquet as library

    with library.ParquetFile(path) as table:
        _check_column(table.schema_arrow, field)
        columns = (batch.column(0) for batch in table.iter_batches(_ROWS, columns=[field]))
        return _unpacked(path, columns, said, field, unpacking)


def count(path: Path, field: str) -> tuple[int, int]:
    """Ids and rows; nothing is unpacked."""
    if path.suffix == ".parquet":
        from pyarrow import parquet as library

        with library.ParquetFile(path) as table:
            _check_column(table.schema_arrow, field)
            names = [table.schema.column(i).path.split(".")[0] for i in range(len(table.schema))]
            groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
            return sum(group.column(names.index(field)).num_values for group in groups), table.metadata.num_rows
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        rows = [_rows(column)[1] for column in _arrow_columns(source, field)]
        return sum(int(lengths.sum()) for lengths in rows), sum(map(len, rows))


def _arrow_columns(source: Any, field: str) -> Iterator[Any]:
    from pyarrow import ipc

    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    if is_file:
        reader = ipc.open_file(source)
        _check_column(reader.schema, field)
        yield from (_whole(reader.get_batch(i).column(field)) for i in range(reader.num_record_batches))
    else:
        stream = ipc.open_stream(source)
        _check_column(stream.schema, field)
        yield from (_whole(batch.column(field)) for batch in stream)


def _whole(column: Any) -> Any:
    """The column; `ArrowInvalid` where its rows would lie outside. Read all the same, they may end the process."""
    column.validate(full=True)
    return column


def _check_column(schema: Any, field: str) -> None:
    if schema.names.count(field) != 1:
        raise FileError(f"has no column {field!r}; it has {some(schema.names)}; set tokenized.field to the right one")
    _checked_type(schema.field(field).type, field)


def _checked_type(kind: Any, field: str) -> np.dtype:
    from pyarrow import types

    is_list = any(test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list))
    if not is_list or not types.is_integer(kind.value_type):
        raise FileError(f"column {field!r} holds {kind}, and not lists of token ids; set tokenized.field to another")
    return dtype_of(str(kind.value_type))


def _place(column: Any, whole: Any) -> tuple[int, Any, Any] | None:
    """Byte of the file where a batch's ids begin, and where each document begins and ends in them; None where they
    lie elsewhere, because they were unpacked."""
    values = column.values
    if values.null_count:
        raise FileError("has rows with null for an id; remove them")
    first, lengths = _rows(column)
    buffer = values.buffers()[1]
    if buffer is None:
        return (0, first, lengths)
    offset = buffer.address - whole.address
    if not 0 <= offset <= whole.size - buffer.size:
        return None
    return offset + values.offset * (values.type.bit_width // 8), first, lengths


def _rows(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where each row begins in the values, and how many it has; none where it is null."""
    lengths = np.asarray(column.value_lengths().fill_null(0), np.int64)
    if hasattr(column, "offsets"):
        return np.asarray(column.offsets, np.int64)[:-1], lengths
    width = column.type.list_size
    return (np.arange(len(column), dtype=np.int64) + column.offset) * width, lengths


def _in_place(path: Path, dtype: np.dtype, parts: list[tuple[int, Any, Any]]) -> Layout:
    offsets = [offset + first * dtype.itemsize for offset, first, _ in parts]
    table = Table(
        np.concatenate(offsets) if offsets else np.zeros(0, np.int64),
        np.concatenate([lengths for _, _, lengths in parts]) if parts else np.zeros(0, np.int64),
    )
    order = np.argsort(table.offset, kind="stable")
    table = Table(table.offset[order], table.tokens[order])
    return Layout(path, f"Arrow {dtype.name}", dtype, 0, int(table.tokens.sum()), lambda: table)


# -- what is compressed ----------------------------------------------------------------------------------------------


def _unpacked(path: Path, columns: Iterator[Any], said: str, field: str, to: Unpacking) -> Layout:
    """Write the ids as one array, once; what is there already is complete, since its index is written last."""
    dtype, data, ends = (
        np.dtype(to.dtype).newbyteorder("<"),
        to.folder / f"{to.name}.bin",
        to.folder / f"{to.name}.ends",
    )
    if not ends.exists():
        with disk_errors(data):
            to.folder.mkdir(parents=True, exist_ok=True)
            _write(path, columns, (said, field), data, ends, to)
    found = Layout(data, "unpacked", dtype, 0, data.stat().st_size // dtype.itemsize)
    return Layout(data, f"unpacked {dtype.name}", dtype, 0, found.tokens,
                  lambda: table_of(np.fromfile(ends, "<u8").astype(np.int64), found),
                  (f"{path.name} {UNPACKED}",))  # fmt: skip


def _write(path: Path, columns: Iterator[Any], asked: tuple[str, str], data: Path, ends: Path, to: Unpacking) -> None:
    said, field = asked
    lengths = [np.zeros(0, np.int64)]
    temporary = data.with_name(f".{data.name}.tmp")
    with temporary.open("wb") as file:
        for column in columns:
            kind = _checked_type(column.type, field)
            check_said(said, kind, f"column {field!r}")
            ids = column.flatten()
            if ids.null_count:
                raise FileError("has rows with null for an id; remove them")
            numbers = np.asarray(ids)
            check_ids(numbers, Layout(path, "", kind, 0, len(numbers)), to.vocab_size)
            file.write(numbers.astype(np.dtype(to.dtype).newbyteorder("<")).tobytes())
            lengths.append(_rows(column)[1])
    temporary.replace(data)
    index = ends.with_name(f".{ends.name}.tmp")
    np.cumsum(np.concatenate(lengths)).astype("<u8").tofile(index)
    index.replace(ends)
