"""What the noise means, as soon as two seeds of two mixtures are there: seeds that it takes to prove one per cent.

Of the trainings only their spread over seeds is used, and not who is better. So this is no look at the results, and
takes nothing from what the verdict may claim.
"""

from __future__ import annotations

from doremi.config import RunConfig
from doremi.errors import DoremiError
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import Nodes
from doremi.statistics.judge import noise
from doremi.statistics.looks import look
from doremi.statistics.needed import Needed
from doremi.statistics.setting import Terms
from doremi.verdict.candidates import Candidate, candidates_of
from doremi.verdict.measure import measure
from doremi.verdict.price import price
from doremi.verdict.rules import Rules


def first_noise(config: RunConfig, directory: RunDirectory, nodes: Nodes) -> tuple[Needed, int] | None:
    """What it takes, and by how many seeds that is known, of the size with the most of them.

    None while too few are trained, or where they cannot be read.
    """
    try:
        found = [_of_size(config, directory, nodes, size) for size in config.size_names()]
    except DoremiError:  # the verdict says what is wrong
        return None
    return max((one for one in found if one is not None), key=lambda one: one[1], default=None)


def noise_words(config: RunConfig, directory: RunDirectory, nodes: Nodes, at_once: int) -> str:
    """For the display of a run at work; nothing while it is not known, and when all seeds are there."""
    if config.candidates.race:  # its heats have one seed each
        return ""
    found, planned = first_noise(config, directory, nodes), config.candidates.seeds
    if found is None or found[1] >= planned:
        return ""
    told, seeds = found
    cost = price(directory, nodes, str(config.root), at_once)
    return f"{told.words(seeds, cost.one_seed)} This run is to have {planned}. {told.longer_words()}"


def _of_size(config: RunConfig, directory: RunDirectory, nodes: Nodes, size: str) -> tuple[Needed, int] | None:
    everyone = [one for one in candidates_of(directory, nodes, size) if one.role != "per-seed"]
    there, seeds = _complete(everyone, sorted({seed for one in everyone for seed in one.trainings}))
    if len(there) < 2:
        return None
    verdict = config.verdict
    level = look(None, verdict.looks, seeds, Rules(confidence=verdict.confidence).level).level
    table = measure(directory, size, seeds, there).table
    told = noise(table, Terms(verdict.target, level, verdict.margin), candidates=len(everyone))
    return None if told is None else (told, len(seeds))


def _complete(everyone: list[Candidate], seeds: list[int]) -> tuple[list[Candidate], list[int]]:
    """Candidates and seeds without a gap, as many seeds as possible; the reference mixture must be there."""
    done = {one.name: [seed for seed in seeds if _finished(one, seed)] for one in everyone}
    reference = next((one for one in everyone if one.is_reference), None)
    mine = set(done[reference.name]) if reference is not None else set()
    others = [mine & set(done[one.name]) for one in everyone if one is not reference]
    shared = max(others, key=len, default=set())
    there = [one for one in everyone if shared and shared <= set(done[one.name])]
    return there, sorted(shared)


def _finished(one: Candidate, seed: int) -> bool:
    folder = one.trainings.get(seed)
    return folder is not None and folder.finished
