"""Where the domains of a corpus lie that nobody has described yet: a folder or a file each, here or at an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from doremi.corpus.formats import format_of, is_web, stem_of
from doremi.corpus.hub.dataset import Dataset, configurations, dataset_at
from doremi.corpus.remote import patiently
from doremi.corpus.splits import is_split_name, split_of
from doremi.corpus.tokenized.find import DATA, is_token_file
from doremi.corpus.unpack import UNREADABLE, is_remote
from doremi.errors import DataError, one_line, reason_of

MOST_FILES = 100  # that are a domain each: more are parts of something
_PART = re.compile(r"(?:[-_.]?(?:part|shard|chunk|train))?[-_.]?\d+(?:[-_.]?of[-_.]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Places:
    """The paths of each domain, and the names of what lies beside and is none of theirs."""

    domains: Mapping[str, list[str]]
    beside: list[str]


@dataclass(frozen=True)
class _Entry:
    name: str
    path: str
    is_folder: bool


def places(source: str) -> Places:
    """The domains of a folder: its folders where there are two, else its files too, parts of one file together. Of a
    dataset on the Hugging Face Hub, each configuration is one.

    `DataError` where there are not two, where folders or files are called as splits are, and for a single file."""
    if (dataset := dataset_at(source)) is not None:
        return _configurations(dataset)
    entries = [entry for entry in _entries(source) if not entry.name.startswith(".")]
    folders = [entry for entry in entries if entry.is_folder]
    files = [entry for entry in entries if not entry.is_folder and format_of(entry.name) is not None]
    if not files:
        files = [entry for entry in entries if not entry.is_folder and is_token_file(entry.name)]
    if len(folders) >= 2:
        chosen, beside = {entry.name: [entry.path] for entry in folders}, [entry.name for entry in files]
    else:
        chosen, beside = {**{entry.name: [entry.path] for entry in folders}, **_by_name(files)}, []
    _check(source, chosen, files if not beside else [])
    return Places(chosen, beside)


def _configurations(dataset: Dataset) -> Places:
    """One that holds the files of others, as those do that are called `all`, is left out."""
    found = configurations(dataset) if dataset.config is None else {}
    shared = [
        one
        for one, files in found.items()
        if any(other < files or (other == files and name < one) for name, other in found.items() if name != one)
    ]
    chosen = {name: [replace(dataset, config=name).address] for name in found if name not in shared}
    if not 2 <= len(chosen) <= MOST_FILES:
        what = f"{len(chosen):,} configurations" if len(chosen) > 1 else "one configuration only"
        raise DataError(
            f"dataset {dataset.name}: has {what}; say with --domain-field which field names the domain, or write those "
            "that you want under data.domains, each with `dataset` and `config`"
        )
    return Places(chosen, shared)


def _by_name(files: list[_Entry]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        stem = stem_of(file.name)
        stem = next((stem[: -len(end)] for end in DATA if stem.endswith(end)), stem)
        found.setdefault(_PART.sub("", stem) or stem, []).append(file.path)
    return found


def _check(source: str, chosen: Mapping[str, list[str]], files: list[_Entry]) -> None:
    splits = [name for name in chosen if is_split_name(name)]
    splits += [f.name for f in files if split_of([], f.name, one_document=f.name.endswith(".txt"))]
    if splits:
        raise DataError(
            one_line(
                f"{source}: holds something called {splits[0]!r}. That is the name of a split, not of a domain. Give a "
                "folder with a folder or a file for each domain, or give --domain-field"
            )
        )
    if len(chosen) > MOST_FILES and files:
        raise DataError(
            f"{source}: holds {len(files):,} files; put those of each domain into a folder of its own, or say with "
            "--domain-field which field names the domain"
        )
    if len(chosen) < 2:
        what = f"{next(iter(chosen))!r} is the only domain in it" if chosen else "holds no text that doremi reads"
        raise DataError(
            one_line(
                f"{source}: {what}; doremi weighs domains against one another: give a folder with a folder or a file "
                "for each, or say with --domain-field which field names the domain"
            )
        )


def _entries(source: str) -> list[_Entry]:
    try:
        found = _remote(source) if is_remote(source) else _local(Path(source))
    except (*UNREADABLE, ImportError, ValueError) as error:
        raise DataError(one_line(f"{source}: cannot be read ({reason_of(error)}); check the path")) from None
    return sorted(found, key=lambda entry: entry.name)


def _local(folder: Path) -> list[_Entry]:
    if folder.is_file():
        raise DataError(
            f"{folder}: is a single file; say with --domain-field which field names a document's domain, or give a "
            "folder with a folder or a file for each"
        )
    return [_Entry(place.name, str(place), place.is_dir()) for place in folder.iterdir()]


def _remote(address: str) -> list[_Entry]:
    import fsspec

    system, path = fsspec.url_to_fs(address)
    system.invalidate_cache()
    found = patiently(lambda: system.ls(path if is_web(address) else path.rstrip("/"), detail=True))
    return [
        _Entry(
            entry["name"].rstrip("/").rpartition("/")[2],
            system.unstrip_protocol(entry["name"]),
            entry["type"] == "directory",
        )
        for entry in found
    ]
