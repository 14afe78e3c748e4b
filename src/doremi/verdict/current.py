"""Whether a verdict is of the models and mixtures that the run has now."""

from __future__ import annotations

from collections.abc import Sequence

from doremi.mixture.record import same_weights
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import Nodes
from doremi.verdict.candidates import Candidate, candidates_of
from doremi.verdict.values import CandidateResult, Verdict


def outdated(run: RunDirectory, nodes: Nodes, verdict: Verdict) -> str | None:
    """Why the verdict's results must not stand beside the run's mixtures, as a sentence; None where they may.

    A candidate or a seed that the verdict lacks, or that the run has no more, does no harm: each result is shown with
    the weights that its model was trained on.
    """
    moved, anew = [], []
    for candidate in candidates_of(run, nodes, verdict.size):
        judged = verdict.candidate(candidate.name)
        if judged is None:
            continue
        if _has_moved(candidate, judged, verdict.domains):
            moved.append(candidate.name)
        elif _is_trained_anew(nodes, judged, verdict.size):
            anew.append(candidate.name)
    if moved:
        return f"The verdict is of other models. The weights of {_listed(moved)} have changed since."
    if anew:
        return f"The verdict is of other models. Those on {_listed(anew)} are to be trained anew."
    return None


def _has_moved(candidate: Candidate, judged: CandidateResult, domains: Sequence[str]) -> bool:
    """Whether the mixture's files have other weights than the models that were judged."""
    now = [candidate.records[seed].weights for seed in judged.trainings if seed in candidate.records]
    if len(now) < len(judged.trainings):  # not there yet: keys tell whether it is to be another one
        return False
    mean = {domain: sum(weights.get(domain, 0.0) for weights in now) / len(now) for domain in domains}
    return not same_weights(mean, dict(zip(domains, judged.weights, strict=True)))


def _is_trained_anew(nodes: Nodes, judged: CandidateResult, size: str) -> bool:
    """Whether a seed that was judged now stands for another training, or for one that is not known yet."""
    now = {node.seed: node.key for node in nodes.find("main", mixture=judged.name, size=size)}
    return any(now[seed] != key for seed, key in judged.trainings.items() if seed in now)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
