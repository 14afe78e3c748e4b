"""The mixtures of a run by name, from what it was planned to consist of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import FILE, CandidateRecord, Nodes


@dataclass(frozen=True)
class NamedMixture:
    """A mixture that all seeds share. `place`: its file in the run directory, None until the mixture is known."""

    name: str
    role: Literal["found", "plain"]
    method: str
    place: str | None


def nodes_of(run: RunDirectory) -> Nodes | None:
    """What was planned last; None where nothing was."""
    return run.nodes() if (run.root / FILE).exists() else None


def named_mixtures(nodes: Nodes | None) -> list[NamedMixture]:
    """Found mixtures first, also those that no main model is planned on, then the plain candidates."""
    if nodes is None:
        return []
    found = [_candidate(one) for one in nodes.candidates if one.role == "found"]
    others = {one.name: one for one in _not_candidates(nodes, {one.method for one in found})}
    return [*found, *others.values(), *(_candidate(one) for one in nodes.candidates if one.role == "plain")]


def _candidate(one: CandidateRecord) -> NamedMixture:
    place = next((place for place in one.mixtures.values() if place is not None), None)
    return NamedMixture(one.name, "plain" if one.role == "plain" else "found", one.method, place)


def _not_candidates(nodes: Nodes, methods: set[str]) -> Iterator[NamedMixture]:
    """What methods have found that are not among `methods`, a later round after an earlier one."""
    for node in nodes.find("mixture"):
        if node.method not in methods:
            yield NamedMixture(node.mixture or node.method, "found", node.method, node.place)
