"""What one more seed of all candidates takes, from the times that this run's trainings have taken."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from doremi.errors import DoremiError
from doremi.files import json_lines
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import NodeRecord, Nodes


@dataclass(frozen=True)
class Price:
    """`run` is what commands call the run; `one_seed` the seconds on the clock of one more seed, None if not known."""

    run: str
    one_seed: float | None = None


def price(directory: RunDirectory, nodes: Nodes | None, run: str, at_once: int | None = None) -> Price:
    """From timings.jsonl. `at_once`: trainings that go on at the same time, as the run recorded it if None."""
    took = _seconds(directory)
    groups: dict[tuple[str, str], list[NodeRecord]] = {}
    for node in () if nodes is None else (*nodes.find("main"), *nodes.find("longer")):
        groups.setdefault((node.role, node.size), []).append(node)
    work = [_one_seed(group, took) for group in groups.values()]
    known = [seconds for seconds in work if seconds is not None]
    if not known or len(known) < len(work):
        return Price(run)
    return Price(run, sum(known) / (at_once or _at_once(directory)))


def _seconds(directory: RunDirectory) -> dict[str, float]:
    """Seconds of finished work by the id of its node, without what was resumed: only its last part is measured."""
    entries = [one for one in json_lines(directory.root / "timings.jsonl") if "from_step" not in one]
    return {str(one.get("stage")): one["seconds"] for one in entries if isinstance(one.get("seconds"), float | int)}


def _one_seed(group: list[NodeRecord], took: Mapping[str, float]) -> float | None:
    """Of trainings of one size, the median of one, as often as there are mixtures."""
    known = [took[node.id] for node in group if node.id in took]
    each = {(node.mixture, node.method) for node in group}
    return len(each) * statistics.median(known) if known else None


def _at_once(directory: RunDirectory) -> int:
    """As many as the cores that were recorded hold; one on a GPU, and where nothing was."""
    try:
        config, machine = directory.config(), directory.manifest()["machine"]
        workers = config.get("workers")
        if isinstance(workers, int):
            return max(1, workers)
        return max(1, machine["cores"] // machine["threads"]) if machine["device"] == "cpu" else 1
    except (DoremiError, TypeError, ZeroDivisionError):
        return 1
