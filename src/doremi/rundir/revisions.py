"""revisions.json: the commits of the datasets that a run reads. It stays with what they were when it began.

A branch may move while a corpus is prepared, or before a preparation that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from doremi.config import RunConfig
from doremi.corpus.hub.dataset import Dataset, commit_of, dataset_at
from doremi.files import FORMAT, read_json, write_json

FILE = "revisions.json"


def recorded(run: Path) -> Mapping[str, str]:
    """The commit of each `OWNER/NAME@BRANCH` in a run directory; empty where none is recorded."""
    path = run / FILE
    return read_json(path, "record of revisions")["commits"] if path.exists() else {}


def record(config: RunConfig) -> None:
    """Write down which commits the branches are at that the configuration names, but those that are recorded."""
    before = recorded(config.root)
    branches = {dataset.branch: dataset for dataset in _datasets(config) if not dataset.is_pinned}
    new = {branch: commit_of(dataset) for branch, dataset in branches.items() if branch not in before}
    if new:
        write_json(config.root / FILE, {"format": FORMAT, "commits": {**before, **new}})


def pinned(patterns: Iterable[str], commits: Mapping[str, str]) -> list[str]:
    """Paths and addresses, the datasets among them at these commits."""
    found = ((pattern, dataset_at(pattern)) for pattern in patterns)
    return [
        replace(dataset, revision=commits[dataset.branch]).address if dataset and dataset.branch in commits else pattern
        for pattern, dataset in found
    ]


def _datasets(config: RunConfig) -> Iterator[Dataset]:
    data = config.data
    for one in (data, *data.domains.values()):
        yield from (dataset for pattern in (*one.train, *one.validation) if (dataset := dataset_at(pattern)))
    yield from (domain.hub for domain in data.domains.values() if domain.hub is not None)
