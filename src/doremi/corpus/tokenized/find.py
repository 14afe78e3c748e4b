"""Files of tokens: those with a known ending, and what lies beside each and belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from doremi.corpus.patterns import File, expand
from doremi.corpus.peek import without_stale
from doremi.corpus.unpack import is_remote
from doremi.errors import DataError, one_line

ARRAYS, TABLES = (".bin", ".npy", ".ds"), (".arrow", ".parquet")
DATA = (*ARRAYS, *TABLES)
BESIDE = (".idx", ".index", ".metadata", ".loss", ".json", ".csv.gz")
"""Endings of files that belong to others, or describe them."""
KNOWN = " ".join(DATA)

Leave = Callable[[str, File], None]


def is_token_file(name: str) -> bool:
    """Whether a name ends as files of nothing but tokens do. Tables may hold anything."""
    return name.lower().endswith(ARRAYS)


def holds_tokens(patterns: Sequence[str]) -> bool:
    """Whether some of these are files of tokens, Megatron's prefixes of them, or folders with one."""
    places = [Path(_with_ending(pattern)) for pattern in patterns if not is_remote(pattern)]
    return any(
        is_token_file(place.name) or (place.is_dir() and any(is_token_file(file.name) for file in place.iterdir()))
        for place in places
    )


def tokenizer_of(path: str) -> str | None:
    """The tokenizer that datatrove names beside its tokens."""
    try:
        words = Path(f"{path}.metadata").read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    return words.rpartition("|")[0] or None


def companion(path: str) -> Path | None:
    """The index of a file of tokens; None where there is none."""
    place = Path(path)
    beside = {".bin": place.with_suffix(".idx"), ".ds": place.with_name(place.name + ".index")}.get(place.suffix)
    return beside if beside is not None and beside.exists() else None


def token_files(patterns: Sequence[str], key: str, leave: Leave) -> list[File]:
    """In the order of the patterns, those of one pattern by name; `leave` is told of files of other kinds.

    `DataError` where there is none, and for an address: tokens are read where they lie, here and there.
    """
    found: list[File] = []
    for pattern in patterns:
        if is_remote(pattern):
            raise DataError(
                one_line(f"{key}: {pattern}: tokens are used where they lie, so copy these files to a local disk")
            )
        everything = expand(_with_ending(pattern), key)
        own = [file for file in everything if file.path.lower().endswith(DATA) and not _hidden(file)]
        for file in everything:
            if file not in own and not file.path.lower().endswith(BESIDE):
                leave("hidden" if _hidden(file) else Path(file.path).suffix or "no suffix", file)
        if not own:
            raise DataError(one_line(f"{key}: {pattern}: has no file of tokens; doremi reads {KNOWN}; check the path"))
        found += [_with_index(file) for file in without_stale(own, leave)]
    return found


def _with_ending(pattern: str) -> str:
    """Megatron names its pair of files without their endings."""
    path = Path(pattern).expanduser()
    pair = path.with_name(path.name + ".bin")
    return str(pair) if not path.exists() and pair.exists() else pattern


def _hidden(file: File) -> bool:
    return any(part.startswith(".") for part in file.name.split("/")) and not file.explicit


def _with_index(file: File) -> File:
    """A file counts as changed where its index has."""
    beside = companion(file.path)
    if beside is None:
        return file
    found = beside.stat()
    return replace(file, version=f"{file.version}+{found.st_size}:{found.st_mtime_ns}")
