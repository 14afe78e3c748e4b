"""Which files of a domain are training, validation or test, and which are not read: decided here, for every command.

    find_all        the files of all domains, each content once
    describe        what was found, in a line a domain

A folder, a glob or an address stands for many files, so names decide (splits.py): validation files are held out, test
files are passed over. What a user names as a single file is what the user says it is. Whatever is not read is counted
by kind, with its bytes.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from doremi.corpus.formats import KNOWN, Format, format_of, kind_of, unpacked_name
from doremi.corpus.splits import Split, split_of, splits_named
from doremi.corpus.unpack import UNREADABLE, is_remote, opened, unpacked
from doremi.errors import DataError, one_line, reason_of
from doremi.files import size_in_words

_HEAD = 1 << 16  # bytes that tell whether a file is a packed copy of another, and what a bare .json holds
_MAGIC = re.compile(r"[*?[]")
HIDDEN, LINK, COPY, OTHERS, RECORDLESS = (
    "hidden",
    "the same file under another name",
    "packed copy of a file beside it",
    "validation files, since others are given",
    ".json without documents",
)
NAMED = 5  # kinds of files that a line names at most


@dataclass(frozen=True)
class DomainSource:
    """Where a domain's text is: files, folders, globs or addresses. Without validation files, some text is held out."""

    train: Sequence[str]
    validation: Sequence[str] = ()
    text_field: str = "text"
    sample_tokens: int | None = None
    """About how many tokens of its training files are read; None for all."""


@dataclass(frozen=True)
class File:
    """A file as a pattern found it: `name` is the part of its path below what the pattern names."""

    path: str
    name: str
    size: int
    version: str
    """Changes when the file is replaced or edited: its time, or what the address knows."""
    identity: str
    """The same for two names of one file."""
    explicit: bool = False
    """Whether the user named this very file."""
    named: frozenset[Split] = frozenset()
    """Splits that the pattern itself names."""

    @property
    def split(self) -> Split | None:
        if self.explicit:
            return None
        *folders, name = self.name.split("/")
        kind = format_of(self.path)
        return split_of(folders, name, one_document=bool(kind and kind.container == "text"), named=self.named)


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not read."""

    files: int
    bytes: int


@dataclass(frozen=True)
class DomainFiles:
    """All that lies where a domain's source points. `test` files are known as such and passed over."""

    train: list[File]
    validation: list[File]
    test: list[File] = field(default_factory=list)
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)


def paths(files: Iterable[File]) -> list[str]:
    return [file.path for file in files]


# -- finding ---------------------------------------------------------------------------------------------------------


def find_all(
    domains: Mapping[str, DomainSource], *, key: str = "data.domains", look_inside: bool = True
) -> dict[str, DomainFiles]:
    """The files of every domain. `DataError` that begins with `key` where there is nothing to read, where a file is on
    both sides, or belongs to two domains.

    Without `look_inside` nothing is opened: the files that their first bytes would leave out are there too."""
    found = {name: find_files(source, key=f"{key}.{name}", look_inside=look_inside) for name, source in domains.items()}
    owners: dict[tuple[str, str], tuple[str, File]] = {}
    for name, files in found.items():
        for file in (*files.train, *files.validation):
            other, first = owners.setdefault((file.identity, domains[name].text_field), (name, file))
            if other != name:
                also = "" if first.path == file.path else f" (there as {first.path})"
                raise DataError(
                    one_line(
                        f"{key}.{name}: {file.path} belongs to domain {other!r} too{also}, so its text would count "
                        "twice; give each file to one domain"
                    )
                )
    return found


def find_files(source: DomainSource, *, key: str, look_inside: bool = True) -> DomainFiles:
    """The files of one domain; see `find_all`."""
    left_out: Counter[str] = Counter()
    sizes: Counter[str] = Counter()

    def leave(kind: str, file: File) -> None:
        left_out[kind] += 1
        sizes[kind] += file.size

    def matches(patterns: Sequence[str], key: str) -> list[File]:
        found = _each_file_once(_matches(patterns, key, source.text_field if look_inside else None, leave), leave)
        return _without_copies(found, leave) if look_inside else found

    train, validation = matches(source.train, f"{key}.train"), matches(source.validation, f"{key}.validation")
    given = {file.identity for file in validation}
    _refuse_both(train, given, key)
    train = [file for file in train if file.identity not in given]
    by_split: dict[Split | None, list[File]] = {split: [] for split in ("train", "validation", "test", None)}
    for file in train:
        by_split[file.split].append(file)
    if source.validation:
        held = validation
        for file in by_split["validation"]:
            leave(OTHERS, file)
    else:
        held = by_split["validation"]
    training = [file for file in train if file.split in ("train", None)]
    if not training:
        kinds = [f"{split} files" for split in ("validation", "test") if by_split[split]]
        only = " and ".join(kinds) or "files that are given as validation"
        raise DataError(one_line(f"{key}: {_shown(source.train)}: has {only} only; add training files or rename them"))
    totals = {kind: LeftOut(count, sizes[kind]) for kind, count in sorted(left_out.items())}
    return DomainFiles(training, held, by_split["test"], totals)


def _refuse_both(train: list[File], given: set[str], key: str) -> None:
    both = next((file for file in train if file.explicit and file.identity in given), None)
    if both is not None:
        raise DataError(one_line(f"{key}: {both.path} is both a training and a validation file; remove it from one"))


def _matches(patterns: Sequence[str], key: str, text_field: str | None, leave: Any) -> list[File]:
    """Files that can be read, in the order of the patterns, those of one pattern by name; of validation patterns the
    files that other splits own are none of theirs. Without `text_field` no file is opened."""
    found: list[File] = []
    for pattern in patterns:
        readable = _readable(_expand(str(pattern), key), text_field, leave)
        if not readable:
            raise DataError(
                one_line(f"{key}: {pattern}: has no file that doremi reads; it reads {KNOWN}; check the path")
            )
        if key.endswith(".validation"):
            own = [file for file in readable if file.split == "validation"]
            readable = own or [file for file in readable if file.split is None]
        found += readable
    return found


def _readable(files: list[File], text_field: str | None, leave: Any) -> list[File]:
    kept = []
    for file in files:
        form = format_of(file.path)
        if any(part.startswith(".") for part in file.name.split("/")) and not file.explicit:
            leave(HIDDEN, file)
        elif form is None:
            leave(kind_of(file.path), file)
        elif text_field is not None and is_recordless(file, text_field):
            leave(RECORDLESS, file)
        else:
            kept.append(file)
    return kept


def _each_file_once(files: list[File], leave: Any) -> list[File]:
    """Without further names of one file."""
    kept: dict[str, File] = {}
    for file in files:
        first = kept.setdefault(file.identity, file)
        if first.path != file.path:
            leave(LINK, file)
    return list(kept.values())


def _without_copies(files: list[File], leave: Any) -> list[File]:
    """Without packed copies of files that lie beside them."""
    copies: set[str] = set()
    by_name: dict[str, File] = {}
    for file in sorted(files, key=lambda file: len(file.path)):  # an unpacked file before its packed copies
        other = by_name.setdefault(unpacked_name(file.path), file)
        if other is not file and _head(other) == _head(file):
            leave(COPY, file)
            copies.add(file.identity)
    return [file for file in files if file.identity not in copies]


def _head(file: File) -> bytes:
    """The first bytes of a file's unpacked contents."""
    form = format_of(file.path)
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


def is_recordless(file: File, text_field: str) -> bool:
    """Whether a bare .json that nobody named holds metadata, and no documents."""
    bare = format_of(file.path) == Format("json") and not file.explicit
    return bare and not _has_records(file, text_field)


def _has_records(file: File, text_field: str) -> bool:
    """Whether a bare .json holds documents: an array, or lines of which the first has the field."""
    head = _head(file).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        return True
    line, newline, _ = head.partition(b"\n")
    if not newline and len(head) >= _HEAD // 2:
        return True  # a long line: a document as a rule
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(record, dict) and text_field in record


# -- expanding one pattern -------------------------------------------------------------------------------------------


def _expand(pattern: str, key: str) -> list[File]:
    try:
        found = _remote_files(pattern) if is_remote(pattern) else _local_files(pattern)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(one_line(f"{key}: {pattern}: cannot be read ({reason_of(error)}); check the path")) from None
    if found is None:
        raise DataError(one_line(f"{key}: {pattern}: there is no such file or folder; check the path"))
    return sorted(found, key=lambda file: file.path)


def _local_files(pattern: str) -> list[File] | None:
    """Files of a local pattern; None where nothing is there. A path that exists is never taken for a glob."""
    path = Path(os.path.normpath(Path(pattern).expanduser().absolute()))
    if path.is_dir():
        return _walk(path, path)
    if path.exists():
        return [_file(path, path.name, explicit=True)]
    # glob and not pathlib's: like the shell's it passes over hidden names
    matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    base = _before_magic(path)
    named = frozenset(splits_named(str(path.relative_to(base))))
    files = [file for match in matches for file in (_walk(match, base) if match.is_dir() else [_of(match, base)])]
    return [replace(file, named=named) for file in files] if matches else None


def _before_magic(path: Path) -> Path:
    """The folder of a glob above its first wildcard."""
    parts = path.parts
    first = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
    return Path(*parts[:first])


def _of(path: Path, base: Path) -> File:
    return _file(path, str(path.relative_to(base)))


def _walk(folder: Path, base: Path) -> list[File]:
    """All files under a folder, hidden ones too; links are followed, each folder is entered once."""
    files, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        real = Path(place).resolve()
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        folders.sort()
        files += [_of(Path(place) / name, base) for name in names]
    return files


def _raise(error: OSError) -> None:
    raise error


def _file(path: Path, name: str, *, explicit: bool = False) -> File:
    try:
        found = path.stat()
    except OSError:  # a link to nowhere, or gone since: whoever reads it says so
        return File(str(path), name, 0, "missing", str(path), explicit)
    return File(str(path), name, found.st_size, str(found.st_mtime_ns), f"{found.st_dev}:{found.st_ino}", explicit)


def _remote_files(pattern: str) -> list[File] | None:
    import fsspec

    system, path = fsspec.url_to_fs(pattern)
    path = path.rstrip("/")
    if system.isdir(path):
        found = system.find(path, detail=True)
        return [_remote_file(system, info, place, path) for place, info in found.items()]
    if system.exists(path):
        return [_remote_file(system, system.info(path), path, path.rpartition("/")[0], explicit=True)]
    base = str(_before_magic(Path(path)))
    named = frozenset(splits_named(path.removeprefix(base)))
    found: dict[str, Any] = {}
    for match, details in system.glob(path, detail=True).items():
        found |= system.find(match, detail=True) if details["type"] == "directory" else {match: details}
    return [replace(_remote_file(system, info, place, base), named=named) for place, info in found.items()] or None


def _remote_file(system: Any, info: Mapping[str, Any], place: str, base: str, *, explicit: bool = False) -> File:
    address = system.unstrip_protocol(place)
    known = (info.get(name) for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created"))
    version = str(next((value for value in known if value is not None), ""))
    name = place.removeprefix(base).lstrip("/")
    return File(address, name, int(info.get("size") or 0), version, address, explicit)


# -- words -----------------------------------------------------------------------------------------------------------


def describe(files: DomainFiles) -> str:
    """What was found of one domain, in a line."""
    parts = [_number(files.train, "training file")]
    parts.append(_number(files.validation, "validation file") if files.validation else "validation split off")
    if files.test:
        parts.append(f"not read: {_number(files.test, 'test file')} ({files.test[0].name})")
    return ", ".join(parts) + (f"; {left_out_words(files.left_out)}" if files.left_out else "")


def left_out_words(left_out: Mapping[str, LeftOut]) -> str:
    """`left out: 12 files, 3.1 GB (.bz2 8, .csv 3, no suffix 1)`."""
    files, size = (sum(getattr(kind, what) for kind in left_out.values()) for what in ("files", "bytes"))
    kinds = sorted(left_out.items(), key=lambda item: -item[1].files)
    shown = ", ".join(f"{kind} {one.files}" for kind, one in kinds[:NAMED])
    more = f" and {len(kinds) - NAMED} more kinds" if len(kinds) > NAMED else ""
    return f"left out: {files:,} file{'s' * (files != 1)}, {size_in_words(size)} ({shown}{more})"


def _number(files: Sequence[File], noun: str) -> str:
    return f"{len(files):,} {noun}{'s' * (len(files) != 1)}"


def _shown(patterns: Sequence[str]) -> str:
    return ", ".join(str(pattern) for pattern in patterns)
