"""The files that a path, a folder, a glob or an address stands for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from doremi.corpus.formats import Format, format_of, is_web, text_format
from doremi.corpus.hub.dataset import Found, dataset_at, files_of
from doremi.corpus.remote import patiently
from doremi.corpus.splits import Split, split_of, splits_named
from doremi.corpus.unpack import is_remote
from doremi.errors import DataError, one_line, reason_of

_MAGIC = re.compile(r"[*?[]")
_VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "Last-Modified", "updated", "created", "blob_id")
_ENDING = re.compile(r"\.[^./*?\[\]]+$")  # of a pattern that says which kind of file it means


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
    ending: str = ""
    """What the pattern says that names end with: such files are texts, if they are nothing else."""
    given: Split | None = None
    """The split that a dataset says it is of."""

    @property
    def format(self) -> Format | None:
        if (known := format_of(self.path)) is not None:
            return known
        return text_format(self.path) if self.ending and self.path.endswith(self.ending) else None

    @property
    def split(self) -> Split | None:
        if self.explicit or self.given is not None:
            return self.given
        *folders, name = self.name.split("/")
        form = self.format
        return split_of(folders, name, one_document=bool(form and form.container == "text"), named=self.named)


def expand(pattern: str, key: str) -> list[File]:
    try:
        if (dataset := dataset_at(pattern)) is not None:
            return sorted(map(_of_dataset, files_of(dataset)), key=lambda file: file.path)
    except DataError as error:
        raise DataError(f"{key}: {error}") from None
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
    return [replace(file, named=named, ending=_ending(pattern)) for file in files] if matches else None


def _ending(pattern: str) -> str:
    """`.py` of `src/**/*.py`; empty for a pattern that does not say."""
    found = _ENDING.search(pattern)
    return found.group() if found and _MAGIC.search(pattern) else ""


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


def _of_dataset(found: Found) -> File:
    """Named by its path in the dataset, of whatever commit, so that what stays as it is counts as the same."""
    return File(
        found.address, found.name, found.size, found.version, found.address, found.split is None, given=found.split
    )


def _remote_files(pattern: str) -> list[File] | None:
    """The same at an address. A web server's folder is an address that ends with a slash."""
    import fsspec

    system, path = fsspec.url_to_fs(pattern)
    system.invalidate_cache()  # what was listed before may have changed
    if pattern.endswith("/") if is_web(pattern) else patiently(lambda: system.isdir(path)):
        base = path.rstrip("/")
        found = patiently(lambda: system.find(path, detail=True))
        return [_remote_file(system, info, place, base) for place, info in found.items()]
    if (info := _info(system, path)) is not None:
        return [_remote_file(system, info, path, path.rpartition("/")[0], explicit=True)]
    magic = _MAGIC.search(path)
    if magic is None:
        return None
    base = path[: magic.start()].rpartition("/")[0]
    named = frozenset(splits_named(path.removeprefix(base)))
    found: dict[str, Any] = {}
    for match, details in patiently(lambda: system.glob(path, detail=True)).items():
        found |= system.find(match, detail=True) if details["type"] == "directory" else {match: details}
    files = [_remote_file(system, info, place, base) for place, info in found.items()]
    return [replace(file, named=named, ending=_ending(pattern)) for file in files] or None


def _info(system: Any, path: str) -> dict[str, Any] | None:
    try:
        return patiently(lambda: system.info(path))
    except FileNotFoundError:
        return None


def _remote_file(system: Any, info: Mapping[str, Any], place: str, base: str, *, explicit: bool = False) -> File:
    address = system.unstrip_protocol(place)
    if is_web(address) and info.get("size") is None:  # a list of links says nothing of them
        info = _info(system, place) or info
    known = (info.get(name) for name in _VERSIONS)
    version = str(next((value for value in known if value is not None), ""))
    name = place.removeprefix(base).lstrip("/")
    return File(address, name, int(info.get("size") or 0), version, address, explicit)
