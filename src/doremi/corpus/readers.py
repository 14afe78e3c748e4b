"""Documents out of files: JSON lines (plain, gzip, Zstandard), Parquet and plain text, local or at any fsspec address.

Everything streams: memory holds one document and one block of its file, however large the file is. Whatever is wrong
with a file is a `DataError` of one line that names the domain, the file and the line or row (counted from 1).
"""

from __future__ import annotations

import glob
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard

from doremi.errors import DataError, one_line, reason_of

# C4 and Dolma call their compressed JSON lines .json.gz; a bare .json is as a rule metadata, so it is not read.
_JSON_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst")
_TEXT = ".txt"
_PARQUET = ".parquet"
SUFFIXES = (*_JSON_LINES, _PARQUET, _TEXT)

_BLOCK = 1 << 20  # bytes read at a time
_ZST_BLOCK = 1 << 12  # compressed bytes at a time: what packs best, one letter without end, unpacks to 128 MiB a step
_ZST_WINDOW = 1 << 31  # archives made with `zstd --long=31` are common among corpora
MOST_LINE_BYTES = 256 << 20  # of JSON; more is no document but a file without line breaks, or one made to fill memory
_ROWS = 64  # Parquet rows at a time: documents of 1 MB make that 64 MB
_BOM = b"\xef\xbb\xbf"
_UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
_VALIDATION = re.compile(r"(validation|valid|val)(?=$|[._\-\d])", re.IGNORECASE)


# -- which files -----------------------------------------------------------------------------------------------------


def expand(patterns: Sequence[str], *, key: str) -> list[str]:
    """All files that `patterns` mean, each once: a file, a folder (all known files under it), a glob, an address.

    Patterns keep their order, the files of one pattern are sorted by name, so the list is the same on any machine.
    `key` is what the user wrote the patterns under, for the `DataError` when a pattern has nothing to read.
    """
    return list(dict.fromkeys(file for pattern in patterns for file in _expand_one(str(pattern), key)))


def find_splits(path: str, *, key: str) -> tuple[list[str], list[str]]:
    """Training and validation files of one domain's folder.

    A file or folder directly in `path` whose name begins with the word `validation`, `valid` or `val` (as in
    `validation.jsonl.zst`, `val-00.parquet`, `valid/part.txt`) is validation; the rest is training.
    """
    files = expand([path], key=key)
    base = _absolute(path).rstrip("/") + "/"
    heads = [file.removeprefix(base).split("/")[0] if file.startswith(base) else Path(file).name for file in files]
    held = [bool(_VALIDATION.match(head)) for head in heads]
    if all(held):
        raise DataError(f"{key}: {path}: has validation files only; add training files or rename them")
    train = [file for file, validation in zip(files, held, strict=True) if not validation]
    return train, [file for file, validation in zip(files, held, strict=True) if validation]


def file_version(file: str) -> str:
    """A string that changes when the file is replaced or edited: its size and time, or what the address knows."""
    try:
        if _is_remote(file):
            import fsspec

            system, path = fsspec.url_to_fs(file)
            return str(system.ukey(path))
        found = Path(file).stat()
    except OSError:
        return "missing"  # whoever reads it says so
    return f"{found.st_size} {found.st_mtime_ns}"


def file_size(file: str) -> int:
    """Bytes of a file as it lies there, compressed or not; 0 where the address does not say."""
    if _is_remote(file):
        import fsspec

        system, path = fsspec.url_to_fs(file)
        return int(system.size(path) or 0)
    return Path(file).stat().st_size


def _expand_one(pattern: str, key: str) -> list[str]:
    try:
        found = _remote_files(pattern) if _is_remote(pattern) else _local_files(pattern)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(one_line(f"{key}: {pattern}: cannot be read ({reason_of(error)}); check the path")) from None
    if found is None:
        raise DataError(
            f"{key}: {pattern}: there is no such file or folder; check the path (relative to where you are)"
        )
    known = sorted(file for file in found if _suffix(file))
    if not known:
        raise DataError(f"{key}: {pattern}: has no file that doremi reads; it reads {' '.join(SUFFIXES)}")
    return known


def _suffix(file: str) -> str | None:
    return next((suffix for suffix in SUFFIXES if file.lower().endswith(suffix)), None)


def _is_remote(address: str) -> bool:
    return "://" in address


def _absolute(path: str) -> str:
    if _is_remote(path):
        import fsspec

        system, inner = fsspec.url_to_fs(path)
        return system.unstrip_protocol(inner)
    return os.path.normpath(Path(path).expanduser().absolute())


def _local_files(pattern: str) -> list[str] | None:
    """Files of a local pattern; None where nothing is there. A path that exists is never taken for a glob."""
    path = Path(_absolute(pattern))
    if path.exists():
        return _walk(path)
    # glob and not pathlib's: like the shell's it passes over hidden names
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207
    return [file for match in matches for file in _walk(Path(match))] if matches else None


def _walk(path: Path) -> list[str]:
    """`path` itself, or all files under it but hidden ones; links are followed, each folder is entered once."""
    if not path.is_dir():
        return [str(path)]
    files, seen = [], set()
    for place, folders, names in os.walk(path, followlinks=True, onerror=_raise):
        real = Path(place).resolve()
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            files += [f"{place}/{name}" for name in names if not name.startswith(".")]
        seen.add(real)
    return files


def _raise(error: OSError) -> None:
    raise error


def _remote_files(pattern: str) -> list[str] | None:
    import fsspec

    system, path = fsspec.url_to_fs(pattern)
    if system.isdir(path):
        found = [f"{place}/{name}" for place, _, names in system.walk(path, on_error="raise") for name in names]
    elif system.exists(path):
        found = [path]
    else:
        found = [str(match) for match in system.glob(path)]
        if not found:
            return None
    return [system.unstrip_protocol(file) for file in found if not Path(file).name.startswith(".")]


# -- reading ---------------------------------------------------------------------------------------------------------


@dataclass
class _Place:
    """Where the reader is, for errors; `number` 0 means the file as a whole."""

    domain: str
    file: str
    unit: str = "line"
    number: int = 0

    def error(self, what: str) -> DataError:
        where = f", {self.unit} {self.number}" if self.number else ""
        return DataError(one_line(f"domain {self.domain!r}: {self.file}{where}: {what}"))

    def unreadable(self, error: BaseException) -> DataError:
        after = f" after {self.unit} {self.number}" if self.number else ""
        return DataError(
            one_line(
                f"domain {self.domain!r}: {self.file}: cannot be read{after} ({reason_of(error)}); "
                "check that the file is complete and may be read, or make it again"
            )
        )


def read_documents(files: Iterable[str], *, text_field: str, domain: str) -> Iterator[str]:
    """The texts of all documents in order, empty ones included; `text_field` names the JSON field or Parquet column.

    A `.txt` file is one document. Blank lines between JSON lines and a byte-order mark are passed over.
    `DataError` for whatever cannot be read: it names `domain`, the file, and the line or row.
    """
    for file in files:
        place = _Place(domain, file)
        suffix = _suffix(file)
        if suffix == _PARQUET:
            yield from _parquet(place, text_field)
        elif suffix == _TEXT:
            yield _plain_text(place)
        else:
            yield from _json_lines(place, text_field)


def _open(file: str) -> AbstractContextManager[BinaryIO]:
    if _is_remote(file):
        import fsspec

        opened: Any = fsspec.open(file, "rb")
        return opened
    return Path(file).open("rb")


def _json_lines(place: _Place, text_field: str) -> Iterator[str]:
    try:
        with _open(place.file) as raw:
            for line in _lines(_blocks(raw, place.file.lower()), place):
                record = line.removeprefix(_BOM) if place.number == 1 else line
                if record and not record.isspace():
                    yield _text_of(record, text_field, place)
    except _UNREADABLE as error:
        raise place.unreadable(error) from None


def _blocks(raw: BinaryIO, name: str) -> Iterator[bytes]:
    if name.endswith(".zst"):
        return _unzstd(raw)
    plain: Any = gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw
    return iter(lambda: plain.read(_BLOCK), b"")


def _unzstd(raw: BinaryIO) -> Iterator[bytes]:
    """Unpack frame after frame; unlike the library's own stream reader this notices a file that ends too early."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZST_WINDOW)
    frame = unpacker.decompressobj()
    inside = False
    while data := raw.read(_ZST_BLOCK):
        while data:
            unpacked = frame.decompress(data)
            yield from (unpacked[i : i + _BLOCK] for i in range(0, len(unpacked), _BLOCK))
            inside, data = not frame.eof, frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = unpacker.decompressobj()
    if inside:
        raise EOFError("the file ends in the middle of its compressed data")


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


def _text_of(line: bytes, text_field: str, place: _Place) -> str:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise place.error(_why_not_json(line, error)) from None
    if not isinstance(record, dict):
        raise place.error(
            f'is JSON but not an object; write each document as {{"{text_field}": "..."}} on its own line'
        )
    if text_field not in record:
        raise place.error(f"has no field {text_field!r}; it has {_some(record)}; set text_field to the right one")
    return _checked(record[text_field], f"field {text_field!r}", place)


def _why_not_json(line: bytes, error: Exception) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return _not_utf8(wrong)
    return f"is not JSON ({error}); mend or remove the line"


def _not_utf8(wrong: UnicodeDecodeError) -> str:
    return f"is not valid UTF-8 at byte {wrong.start + 1} ({wrong.reason}); convert the text to UTF-8"


def _checked(text: object, what: str, place: _Place) -> str:
    if not isinstance(text, str):
        raise place.error(f"{what} is {_kind(text)}, not text; give a string or another text_field")
    if "\0" in text:
        raise place.error(f"{what} has a NUL character at position {text.index(chr(0)) + 1}; is it binary? remove it")
    return text


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _plain_text(place: _Place) -> str:
    try:
        with _open(place.file) as raw:
            data = raw.read().removeprefix(_BOM)
        return _checked(data.decode(), "the text", place)
    except UnicodeDecodeError as wrong:
        place.number = wrong.object.count(b"\n", 0, wrong.start) + 1
        raise place.error(_not_utf8(wrong)) from None
    except _UNREADABLE as error:
        raise place.unreadable(error) from None


# -- Parquet (its library takes 0.2 s to import, so only who reads Parquet pays for it) -------------------------------


def _parquet(place: _Place, text_field: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    place.unit = "row"
    try:
        # A buffered column, not whole row groups: a row group may hold gigabytes.
        with _open(place.file) as raw, parquet.ParquetFile(raw, buffer_size=_BLOCK, pre_buffer=False) as table:
            _check_column(table.schema_arrow, text_field, place)
            for batch in table.iter_batches(_ROWS, columns=[text_field]):
                for value in batch.column(0):
                    place.number += 1
                    yield _checked(value.as_py(), f"column {text_field!r}", place)
    except UnicodeDecodeError as wrong:
        raise place.error(_not_utf8(wrong)) from None
    except (*_UNREADABLE, pyarrow.ArrowException, ValueError) as error:
        raise place.unreadable(error) from None


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
