"""Iterated DoReMi (paper section 2): the mixture becomes the next round's reference mixture, until it stays.

A search is one round: references and proxies over seeds, and the mean of their averaged weights. With more than one
round each has its own folder, `rounds/<number>`, laid out as a run directory; with one it is the run directory itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.diagnostics.health import running_away
from doremi.errors import Interrupted
from doremi.files import read_json, write_json
from doremi.mixture.domains import Mixture
from doremi.pipeline import stages
from doremi.pipeline.recorded import record_nodes
from doremi.pipeline.workspace import Workspace
from doremi.rundir.mixtures import found_weights, mixture_named


def search(space: Workspace, corpus: Corpus, what: str = "all") -> None:
    """All rounds, and DoReMi's mixture from the last.

    `what`: all, or reference or proxy alone, of which later rounds need both: there `reference` is that of the first
    round, and `proxy` goes through to the end.
    """
    name = space.config.reference.mixture
    stages.plain_mixture(space, corpus, name)
    mixture = mixture_named(space.config, space.directory, corpus, name)  # limits are for what may be recommended
    history: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for number, directory in enumerate(space.directory.searches(space.config.rounds.max), start=1):
        for seed in space.config.search_seeds():
            if what in ("reference", "all") or number > 1:
                step(space, lambda s=seed, d=directory, m=mixture: stages.reference(space, corpus, d, s, m))
            if what in ("proxy", "all"):
                step(space, lambda s=seed, d=directory: stages.proxy(space, corpus, d, s))
        if what == "reference":
            return
        stages.combine(space, corpus, directory, name if number == 1 else f"round {number - 1}")
        record = read_json(directory.mixture_path("doremi"), "mixture")
        found = found_weights(record)
        history.append({"round": number, **_change(space.config, mixture, found, record)})
        if warning := running_away(history):
            space.watch.say(warning)
        if history[-1]["stopped"]:
            break
        mixture = found
    if space.config.rounds.max > 1 and space.world.is_main:
        write_json(space.directory.mixture_path("doremi"), {**record, "rounds": history})
    space.world.on_main(lambda: record_nodes(space.config))


def step(space: Workspace, work: Callable[[], Any]) -> None:
    """Do `work`, unless somebody has asked to stop."""
    if space.world.any(space.watch.stop_requested()):
        raise Interrupted("stopped between two stages. Run the same command to resume.")
    work()


def _change(config: RunConfig, before: Mixture, after: Mixture, record: dict[str, Any]) -> dict[str, Any]:
    """The round's largest change of a weight, in which domain, and why it is the last round, if it is.

    The paper stops when no weight changes by `rounds.until`. A change that lies within the interval of every weight's
    mean over proxies is not told from their spread: another round would walk at random.
    """
    moved = {name: abs(after[name] - before[name]) for name in after.weights}
    domain = max(moved, key=lambda name: moved[name])
    intervals, stopped = record["uncertainty"]["interval"], None
    if moved[domain] < config.rounds.until:
        stopped = f"no weight changed by {config.rounds.until:g}"
    elif intervals is not None and all(low <= before[name] <= high for name, (low, high) in intervals.items()):
        stopped = "the change is within the spread between proxies"
    return {"weights": after.weights, "largest_change": moved[domain], "domain": domain, "stopped": stopped}
