"""Which files of a dataset belong to which configuration and split: as the library `datasets` has it.

Its card (README.md) may say so, under `configs`. Otherwise names do. The first of these rules that finds a file holds:

    data/SPLIT-00000-of-00012.*     any name of a split
    folders called train, validation, test, or alike
    files called so
    all files are of the split `train`
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

DEFAULT = "default"
_NO_DATA = {
    "README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip", "dataset_dict.json",
}  # fmt: skip
_SHARDED = re.compile(r"data/(\w+(?:\.\w+)*)-[0-9]{5}-of-[0-9]{5}[^/]*\.[^/]*")
_CONVERTED = re.compile(r"([^/]+)/([^/]+)/[0-9]{4}\.parquet")
_BETWEEN = "[-._ 0-9]"
_WORDS = {
    "train": "train|training",
    "validation": "validation|valid|dev|val",
    "test": "test|testing|eval|evaluation",
}
_FOLDERS = {
    split: re.compile(rf"(?:.*/)?(?:[^/]*{_BETWEEN})?(?:{words})(?:{_BETWEEN}[^/]*)?/.*")
    for split, words in _WORDS.items()
}
_FILES = {
    split: re.compile(rf"(?:.*/)?(?:[^/]*{_BETWEEN})?(?:{words}){_BETWEEN}[^/]*") for split, words in _WORDS.items()
}


@dataclass(frozen=True)
class Card:
    """What a dataset's card says of its configurations: what stands under each one's name; empty where nothing is."""

    entries: Mapping[str, Mapping[str, Any]]

    @property
    def default(self) -> str | None:
        """The configuration that is meant where none is named; None where one must be."""
        marked = [name for name, entry in self.entries.items() if entry.get("default") is True]
        if marked or DEFAULT in self.entries:
            return marked[0] if marked else DEFAULT
        return next(iter(self.entries)) if len(self.entries) == 1 else None

    def splits(self, config: str, names: Sequence[str]) -> dict[str, list[str]]:
        """The files of each split of a configuration, out of the names of all; splits without files are left out.

        `ValueError` for a card that cannot be understood."""
        entry = self.entries[config]
        folder = posixpath.normpath(str(entry.get("data_dir") or "."))
        prefix = "" if folder == "." else f"{folder}/"
        below = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        said = entry.get("data_files")
        found = _by_default(below) if said is None else {s: _matching(p, below) for s, p in _patterns(said).items()}
        return {split: [prefix + name for name in files] for split, files in found.items() if files}


def read_card(text: str) -> Card:
    """The card from the text of README.md, which may be empty. `ValueError` for a head that is no YAML."""
    head = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", text, re.DOTALL)
    try:
        value = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError as error:
        raise ValueError(f"the head of its README.md is not YAML ({error})") from None
    said = value.get("configs") if isinstance(value, dict) else None
    if not said:
        return Card({DEFAULT: {}})
    if not isinstance(said, list) or not all(isinstance(entry, dict) for entry in said):
        raise ValueError("`configs` in its README.md is not a list of configurations")
    return Card({str(entry.get("config_name", DEFAULT)): entry for entry in said})


def of_converted(names: Iterable[str]) -> Card | None:
    """The card of what the Hub itself has converted, `CONFIGURATION/SPLIT/0000.parquet`; None for other names."""
    splits: dict[str, dict[str, str]] = {}
    for name in names:
        if name.startswith(".") or name in _NO_DATA:
            continue
        if (parts := _CONVERTED.fullmatch(name)) is None:
            return None
        splits.setdefault(parts[1], {})[parts[2]] = f"{parts[1]}/{parts[2]}/*.parquet"
    said = {
        config: {"data_files": [{"split": split, "path": path} for split, path in found.items()]}
        for config, found in splits.items()
    }
    return Card(said) if said else None


def _patterns(said: Any) -> dict[str, list[str]]:
    """Patterns of each split: a card has one pattern, a list of them, or a list of splits."""
    if isinstance(said, list) and said and all(isinstance(part, dict) for part in said):
        if not all(isinstance(part.get("split"), str) for part in said):
            raise ValueError("`data_files` in its README.md has a split without its name")
        return {part["split"]: _listed(part.get("path")) for part in said}
    return {"train": _listed(said)}


def _listed(paths: Any) -> list[str]:
    found = [paths] if isinstance(paths, str) else paths
    if not isinstance(found, list) or not all(isinstance(path, str) for path in found):
        raise ValueError("`data_files` in its README.md are no paths")
    return found


def _matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    from fsspec.utils import glob_translate

    found: dict[str, None] = {}
    for pattern in map(posixpath.normpath, patterns):
        matches = re.compile(glob_translate(pattern)).match
        asked = _passed_over(pattern)
        found |= dict.fromkeys(
            name
            for name in names
            if matches(name) and _passed_over(name) == asked and _may_hold_data(name, named=posixpath.basename(pattern))
        )
    return list(found)


def _by_default(names: Sequence[str]) -> dict[str, list[str]]:
    names = [name for name in names if _passed_over(name) == (0, 0) and _may_hold_data(name)]
    shards = [(found[1], name) for name in names if (found := _SHARDED.fullmatch(name))]
    if shards:
        return {split: [name for one, name in shards if one == split] for split, _ in shards}
    for rule in (_FOLDERS, _FILES):
        found = {split: [name for name in names if pattern.fullmatch(name)] for split, pattern in rule.items()}
        if any(found.values()):
            return found
    return {"train": names}


def _may_hold_data(name: str, *, named: str = "") -> bool:
    """Whether a file is not one of those that describe a dataset; `named` is what somebody asked for."""
    own = posixpath.basename(name)
    return own == named or own not in _NO_DATA


def _passed_over(path: str) -> tuple[int, int]:
    """How many parts of a path are hidden, and how many folders are called __so."""
    parts = path.split("/")
    return sum(part.startswith(".") for part in parts), sum(part.startswith("__") for part in parts[:-1])
