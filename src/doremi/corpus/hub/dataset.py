"""A dataset of the Hugging Face Hub by name: its configurations, and the files of one.

Its name, with what is asked of it, travels as an address: `hf://datasets/OWNER/NAME@REVISION?config=C&split=S`. The
files are addresses too, of one commit. So what is read does not change while it is read. A process asks once which
commit a branch is at, and lists a commit once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlencode

from doremi.corpus.hub.card import Card, of_converted, read_card
from doremi.corpus.remote import open_remote, patiently
from doremi.errors import DataError, one_line, reason_of

PARQUET = "refs/convert/parquet"  # where the Hub keeps what it has made of datasets, a folder for each configuration
NAMED = 12  # configurations and splits that a message names at most
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ADDRESS = re.compile(
    r"hf://datasets/(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/[a-z]+/[^/?\s]+|[^/?\s]+))?/?(?:\?(?P<asked>.*))?"
)
_HELD_OUT = ("validation", "valid", "val", "dev")


@dataclass(frozen=True)
class Found:
    """A file of a dataset."""

    address: str
    name: str
    """Its path in the dataset."""
    size: int
    version: str
    """The hash of its contents."""
    split: Literal["train", "validation", "test"] | None
    """What its split is for; None where the split was asked for."""


@dataclass(frozen=True)
class Dataset:
    """What is asked for. Without a revision it is what the branch `main` holds now."""

    name: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None

    @property
    def address(self) -> str:
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        asked = urlencode({key: value for key in ("config", "split") if (value := getattr(self, key)) is not None})
        return f"hf://datasets/{self.name}{revision}{'?' * bool(asked)}{asked}"

    @property
    def is_pinned(self) -> bool:
        """Whether it is a commit, which never changes."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    @property
    def branch(self) -> str:
        return f"{self.name}@{self.revision or 'main'}"


def dataset_at(address: str) -> Dataset | None:
    """The dataset that an address stands for; None for another address, such as that of a file in one.

    `DataError` where something is asked of it that there is not."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return None
    asked = {key: values[-1] for key, values in parse_qs(found["asked"] or "").items()}
    if unknown := asked.keys() - {"config", "split"}:
        raise _error(found["name"], f"cannot be asked for {min(unknown)!r}; it has a config and a split")
    revision = unquote(found["revision"]) if found["revision"] else None
    return Dataset(found["name"], asked.get("config"), asked.get("split"), revision)


def commit_of(dataset: Dataset) -> str:
    """The commit that is meant, 40 digits. `DataError` where there is no such dataset, or it may not be read."""
    return dataset.revision if dataset.revision and dataset.is_pinned else _commit(dataset.name, dataset.revision)


def files_of(dataset: Dataset) -> list[Found]:
    """The files of a dataset's configuration: those of a split that is asked for, or else those of the split `train`,
    of one for validation and one for tests.

    `DataError` in words where there is none."""
    commit = commit_of(dataset)
    tree, card = _tree(dataset.name, commit), _card(dataset, commit)
    config = dataset.config or card.default
    if config is None or config not in card.entries:
        raise _error(dataset.name, _which("configuration", "config", dataset.config, list(card.entries)))
    return [_found(dataset.name, commit, name, tree, split) for name, split in _chosen(dataset, config, card, tree)]


def configurations(dataset: Dataset) -> dict[str, frozenset[str]]:
    """The files of each configuration, all splits together. `DataError` as in `files_of`."""
    commit = commit_of(dataset)
    names, card = list(_tree(dataset.name, commit)), _card(dataset, commit)
    return {config: frozenset(sum(_splits(dataset, card, config, names).values(), [])) for config in card.entries}


def _chosen(dataset: Dataset, config: str, card: Card, tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names of files, and what their splits are for."""
    splits = _splits(dataset, card, config, list(tree))
    if dataset.split is not None or (len(splits) == 1 and not {"test", *_HELD_OUT} & splits.keys()):
        split = dataset.split or next(iter(splits))
        if split not in splits:
            raise _error(dataset.name, _which("split", "split", split, list(splits)))
        return [(name, None) for name in splits[split]]
    if "train" not in splits:
        raise _error(dataset.name, _which("split", "split", None, list(splits)))
    held = next((split for split in _HELD_OUT if split in splits), None)
    found = dict.fromkeys(splits["train"], "train")
    found |= dict.fromkeys(splits[held], "validation") if held else {}
    return list((found | dict.fromkeys(splits.get("test", ()), "test")).items())


def _splits(dataset: Dataset, card: Card, config: str, names: Sequence[str]) -> dict[str, list[str]]:
    script = f"{dataset.name.rpartition('/')[2]}.py"
    if script in names and not card.entries[config]:
        raise _error(
            dataset.name,
            f"is made by a program ({script}), which doremi does not run; for some the Hub has made files: "
            f"try revision: {PARQUET}",
        )
    try:
        splits = card.splits(config, names)
    except ValueError as error:
        raise _error(dataset.name, str(error)) from None
    if not splits:
        raise _error(dataset.name, f"has no files of the configuration {config!r}")
    return splits


def _which(what: str, key: str, asked: str | None, there: list[str]) -> str:
    more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
    named = ", ".join(there[:NAMED]) + more
    if asked is None:
        return f"has several {what}s: {named}; say which with `{key}`"
    return f"has no {what} {asked!r}, but {named}; give one of them as `{key}`"


def _found(dataset: str, commit: str, name: str, tree: Mapping[str, Any], split: Any) -> Found:
    info = tree[name]
    version = str(info.get("blob_id") or info.get("xet_hash") or commit)
    return Found(_address(dataset, commit, name), name, int(info.get("size") or 0), version, split)


def _address(dataset: str, commit: str, name: str) -> str:
    return f"hf://datasets/{dataset}@{commit}/{name}"


def _error(dataset: str, what: str) -> DataError:
    return DataError(one_line(f"dataset {dataset}: {what}"))


# -- what the Hub says -----------------------------------------------------------------------------------------------


@cache
def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    try:
        return str(patiently(lambda: HfApi().dataset_info(name, revision=revision)).sha)
    except (OSError, ValueError) as error:
        raise _error(name, reason_of(error)) from None


@cache
def _tree(name: str, commit: str) -> Mapping[str, Any]:
    """What is known of each file of a commit, by its path."""
    from huggingface_hub import HfFileSystem

    root = f"datasets/{name}@{commit}"
    try:
        found: Any = patiently(lambda: HfFileSystem().find(root, detail=True))
    except (OSError, ValueError) as error:
        raise _error(name, reason_of(error)) from None
    return {place.removeprefix(f"{root}/"): info for place, info in found.items()}


def _card(dataset: Dataset, commit: str) -> Card:
    try:
        return _read_card(dataset.name, commit)
    except (OSError, ValueError) as error:
        raise _error(dataset.name, reason_of(error)) from None


@cache
def _read_card(name: str, commit: str) -> Card:
    tree = _tree(name, commit)
    if "README.md" not in tree:
        return of_converted(tree) or read_card("")
    with open_remote(_address(name, commit, "README.md")) as file:
        return read_card(file.read().decode(errors="replace"))
