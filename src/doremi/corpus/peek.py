"""What the first bytes of a file say, and the list that lies beside saved datasets."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson

from doremi.corpus.formats import DELIMITERS
from doremi.corpus.patterns import File
from doremi.corpus.shape import MISSING, lookup
from doremi.corpus.unpack import UNREADABLE, opened, unpacked

_HEAD = 1 << 16  # bytes that tell whether a file is a packed copy of another, and what a bare .json holds
RECORDLESS = ".json without documents"
STALE = "not in the state.json of their dataset"


def head_of(file: File) -> bytes:
    """The first bytes of a file's unpacked contents."""
    form = file.format
    try:
        with opened(file.path) as raw:
            held = b""
            for block in unpacked(raw, form.packing if form else ""):
                held += block
                if len(held) >= _HEAD:
                    break
    except UNREADABLE:
        return b""  # whoever reads it says so
    return held[:_HEAD]


def why_not(file: File, text_field: str) -> str | None:
    """Why a bare .json or table that nobody named holds metadata, and no documents; None where it may hold some."""
    form = file.format
    if form is None or form.packing or file.explicit:
        return None
    if form.container == "json" and not _has_records(file, text_field):
        return RECORDLESS
    if form.container in DELIMITERS and not _has_column(file, DELIMITERS[form.container], text_field):
        return f".{form.container} without a column {text_field!r}"
    return None


def _has_column(file: File, delimiter: str, text_field: str) -> bool:
    """Whether a table's first row names the text's column, or its file is none that can be read so."""
    head = head_of(file).removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    try:
        first = next(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return True  # whoever reads it says so
    return text_field in first or _is_parted_otherwise(first, text_field)


def _is_parted_otherwise(first: list[str], text_field: str) -> bool:
    """Whether a row has the column, but between other marks: whoever reads it says so."""
    return len(first) == 1 and any(text_field in first[0].split(mark) for mark in ";\t|,")


def _has_records(file: File, text_field: str) -> bool:
    """Whether a bare .json holds documents: an array, or lines of which the first has the field."""
    head = head_of(file).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        return True
    line, newline, _ = head.partition(b"\n")
    if not newline and len(head) >= _HEAD // 2:
        return True  # a long line: a document as a rule
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and lookup(record, text_field) is not MISSING


def without_stale(files: list[File], leave: Any) -> list[File]:
    """Without files that `datasets` has left over from another dataset that was saved in the same folder."""
    folders = {file.path.rpartition("/")[0] for file in files if file.path.endswith(".arrow") and not file.explicit}
    listed = {folder: _listed(f"{folder}/state.json") for folder in folders}
    kept = []
    for file in files:
        folder, _, name = file.path.rpartition("/")
        names = listed.get(folder)
        if names is not None and name.endswith(".arrow") and name not in names:
            leave(STALE, file)
        else:
            kept.append(file)
    return kept


def _listed(state: str) -> set[str] | None:
    """The files of a dataset that `datasets` has saved; None where its state.json does not say."""
    try:
        with opened(state) as raw:
            return {entry["filename"] for entry in orjson.loads(raw.read())["_data_files"]}
    except (*UNREADABLE, orjson.JSONDecodeError, KeyError, TypeError):
        return None
