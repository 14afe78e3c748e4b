"""nodes.json from where things lie today; the graph takes its place."""

from __future__ import annotations

from collections.abc import Iterator

from doremi.config import RunConfig
from doremi.mixture.names import LEARNED, PER_SEED, WITH_SEARCH
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.mixtures import candidate_name, plain_candidates
from doremi.rundir.nodes import CandidateRecord, CandidateRole, NodeRecord, Nodes, Role, write_nodes


def record_nodes(config: RunConfig) -> None:
    """Write nodes.json of a run directory."""
    run = RunDirectory(config.root)
    nodes = (*_search(config, run), *_main(config, run), *_longer(config, run), *_own(config, run))
    candidates = tuple(_candidate(config, run, candidate_name(name)) for name in config.candidate_mixtures())
    write_nodes(
        run.root,
        Nodes(nodes=nodes, candidates=candidates, reference_mixture=candidate_name(config.reference.mixture)),
    )


def _search(config: RunConfig, run: RunDirectory) -> Iterator[NodeRecord]:
    begun = run.begun_rounds()
    for number, search in [(n, run.round(n)) for n in begun] or [(0, run)]:
        for seed in config.search_seeds():
            yield _training(run, search.reference(seed), "reference", method=LEARNED, seed=seed, round=number)
            yield _training(run, search.proxy(seed), "proxy", method=LEARNED, seed=seed, round=number)
        place = str(search.mixture_path(LEARNED).relative_to(run.root))
        yield NodeRecord(
            id=f"{LEARNED}/mixture-{number}", kind="mixture", role="mixture", key=None, place=place, method=LEARNED,
            round=number,
        )  # fmt: skip


def _main(config: RunConfig, run: RunDirectory) -> Iterator[NodeRecord]:
    for size in config.size_names():
        for seed in config.candidate_seeds():
            for mixture in config.candidate_mixtures():
                name = candidate_name(mixture)
                yield _training(run, run.main(size, name, seed), "main", mixture=name, size=size, seed=seed)


def _longer(config: RunConfig, run: RunDirectory) -> Iterator[NodeRecord]:
    if not config.candidates.equal_compute:
        return
    for size in config.size_names():
        for seed in config.candidate_seeds():
            for name in plain_candidates(config):
                folder = run.main(size, name + WITH_SEARCH, seed)
                yield _training(run, folder, "longer", method=LEARNED, mixture=name, size=size, seed=seed)


def _own(config: RunConfig, run: RunDirectory) -> Iterator[NodeRecord]:
    """Models of `doremi train --mixture`."""
    names = [candidate_name(name) for name in config.candidate_mixtures()]
    ours = {*names, *(name + WITH_SEARCH for name in names)}
    for size, by_name in run.candidates().items():
        for name in by_name.keys() - ours:
            for seed in by_name[name]:
                yield _training(run, run.main(size, name, seed), "own", mixture=name, size=size, seed=seed)


def _training(run: RunDirectory, folder: TrainingFolder, role: Role, **rest: str | int) -> NodeRecord:
    place = str(folder.folder.relative_to(run.root))
    key = folder.stage()["key"] if folder.finished else None
    return NodeRecord.model_validate(
        {"id": f"{role}/{place}", "kind": "training", "role": role, "key": key, "place": place, **rest}
    )


def _candidate(config: RunConfig, run: RunDirectory, name: str) -> CandidateRecord:
    roles: dict[str, CandidateRole] = {LEARNED: "found", PER_SEED: "per-seed"}
    role = roles.get(name, "plain")
    place = str(run.mixture_path(name).relative_to(run.root))
    mixtures = dict.fromkeys(config.candidate_seeds(), None if role == "per-seed" else place)
    return CandidateRecord(name=name, role=role, method="" if role == "plain" else LEARNED, mixtures=mixtures)
