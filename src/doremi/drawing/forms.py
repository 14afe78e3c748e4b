"""What a shard is written as: raw tokens, Megatron's pair, JSON lines, or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from doremi.drawing.megatron_index import index
from doremi.drawing.source import Documents
from doremi.errors import ExportError

Write = Callable[[Documents, Sequence[Path]], None]


@dataclass(frozen=True)
class Form:
    """A form of `--to`. A shard is a file for each of `endings`; `write` gets their paths in that order."""

    endings: tuple[str, ...]
    write: Write
    is_text: bool = False
    """Whether tokens are decoded."""


def _flat(documents: Documents, paths: Sequence[Path]) -> None:
    with paths[0].open("wb", buffering=0) as file:
        documents.write(file.fileno())


def _megatron(documents: Documents, paths: Sequence[Path]) -> None:
    _flat(documents, paths)
    starts = np.cumsum(documents.size) - documents.size
    paths[1].write_bytes(index(documents.size, starts, documents.source.itemsize))


def _jsonl(documents: Documents, paths: Sequence[Path]) -> None:
    with paths[0].open("wb") as file:
        for texts in documents.texts():
            file.write(b"".join(orjson.dumps({"text": text}, option=orjson.OPT_APPEND_NEWLINE) for text in texts))


def _parquet(documents: Documents, paths: Sequence[Path]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("text", pa.large_string())])
    with parquet.ParquetWriter(paths[0], schema, compression="zstd") as file:
        for texts in documents.texts():
            file.write_table(pa.table({"text": texts}, schema))


FORMS = {
    "flat": Form((".bin",), _flat),
    "megatron": Form((".bin", ".idx"), _megatron),
    "jsonl": Form((".jsonl",), _jsonl, is_text=True),
    "parquet": Form((".parquet",), _parquet, is_text=True),
}


def form_named(name: str) -> Form:
    """`ExportError` for an unknown one."""
    if name not in FORMS:
        raise ExportError(f"--to {name!r}: should be {', '.join(FORMS)}. For other trainers see `doremi export`")
    return FORMS[name]
