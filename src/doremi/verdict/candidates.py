"""Who is compared: candidates as values, from what the run was planned to consist of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from doremi.mixture.record import MixtureRecord
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.nodes import CandidateRecord, CandidateRole, Nodes


@dataclass(frozen=True)
class Candidate:
    """A mixture with its main models at one size, by seed; those whose place is not known yet are left out.

    `records`: its mixture files by seed, all the same but for the role `per-seed`. `method`: who found it, or, of a
    plain mixture that was trained for longer, whose search it was given the cost of. `lent`: seeds whose training is
    also the reference model of a search. `allowed`: whether it keeps the limits, so that it may be recommended.
    """

    name: str
    role: CandidateRole
    trainings: Mapping[int, TrainingFolder]
    records: Mapping[int, MixtureRecord] = field(default_factory=dict)
    is_reference: bool = False
    method: str = ""
    lent: frozenset[int] = frozenset()
    allowed: bool = True

    @property
    def limited(self) -> bool:
        """Whether the configuration's limits changed this mixture."""
        return any(record.before_limits is not None for record in self.records.values())


def candidates_of(run: RunDirectory, nodes: Nodes, size: str) -> list[Candidate]:
    """All candidates with their main models of one size."""
    references = {node.key for node in nodes.find("reference")}
    return [
        Candidate(
            name=one.name,
            role=one.role,
            trainings=run.trainings(nodes.find("main", mixture=one.name, size=size)),
            records=_records(run, one),
            is_reference=one.name == nodes.reference_mixture,
            method=one.method,
            allowed=one.allowed,
            lent=frozenset(
                node.seed for node in nodes.find("main", mixture=one.name, size=size) if node.key in references
            ),
        )
        for one in nodes.candidates
    ]


def longer_of(run: RunDirectory, nodes: Nodes, size: str) -> list[Candidate]:
    """Plain mixtures whose models of one size trained on for what a search cost, of each method whose search it was."""
    found_by = dict.fromkeys((node.mixture, node.method) for node in nodes.find("longer", size=size))
    made = []
    for name, method in found_by:
        folders = run.trainings(nodes.find("longer", mixture=name, method=method, size=size))
        record = nodes.candidate(name)
        made.append(Candidate(name, "plain", folders, _records(run, record) if record else {}, method=method))
    return made


def _records(run: RunDirectory, candidate: CandidateRecord) -> dict[int, MixtureRecord]:
    places = {seed: place for seed, place in candidate.mixtures.items() if place is not None}
    files = {place: run.mixture(place) for place in dict.fromkeys(places.values()) if run.place(place).exists()}
    return {seed: files[place] for seed, place in places.items() if place in files}
