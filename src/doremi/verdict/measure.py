"""What a run directory says about its finished candidates, as a typed table; nothing is judged here.

Shapes: C candidates, S seeds, K domains, D documents in use of one domain, E evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.pool import Part, documents_on
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, DataError, RunError
from doremi.mixture.domains import DomainSet, Mixture
from doremi.mixture.plain import natural
from doremi.mixture.record import same_weights
from doremi.rundir.held_out import largest
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.part import nats_on
from doremi.statistics.table import DomainLosses, Entrant, Measurements
from doremi.verdict.candidates import Candidate


@dataclass(frozen=True, eq=False)
class Curve:
    """One candidate over training, mean over seeds: `step` `[E]` rising, `bits` `[E, K]` on the report documents."""

    step: np.ndarray
    bits: np.ndarray


@dataclass(frozen=True, eq=False)
class Measured:
    """All candidates of one size. `weights` and `epochs` are means over seeds, `[C, K]`. `documents` count, `[K]`.

    `table` is what is judged, `loss` `[C, S, K]` the same in nats a token. `steps` and `tokens` are the first one's,
    `keys` those of its trainings by seed, for each candidate.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    size: str
    domains: DomainSet
    natural: np.ndarray
    weights: np.ndarray
    epochs: np.ndarray
    steps: int
    tokens: int
    table: Measurements
    loss: np.ndarray
    curves: tuple[Curve, ...]
    keys: tuple[dict[int, str], ...]
    documents: Part


def measure(
    run: RunDirectory, size: str, seeds: Sequence[int], candidates: Sequence[Candidate], *,
    documents: Part | None = None, equal_tokens: bool = True,
) -> Measured:  # fmt: skip
    """Read the finished `candidates` of `size`, one training for each of `seeds`.

    `documents` are those that count; None: those that trainings were evaluated on, the most of any.

    `RunError`: one is missing, was trained on other weights than its mixture has or, with `equal_tokens`, they were
    trained on different numbers of tokens.
    `DamageError`: its document losses don't fit the corpus or are not finite. `DataError`: a domain has no validation
    text.
    """
    corpus = run.corpus()
    domains = corpus.domains
    folders = [[_finished(run, size, one, seed) for seed in seeds] for one in candidates]
    stages = [[folder.stage() for folder in row] for row in folders]
    for one, row in zip(candidates, stages, strict=True):
        _check_weights(run, one, dict(zip(seeds, row, strict=True)))
    by_size = np.array(natural(corpus.natural_sizes(run.passes())).aligned(domains))
    consumed = np.array([[stage["consumed_tokens"] for stage in row] for row in stages], float)
    once = np.array([[stage["epoch_tokens"] for stage in row] for row in stages], float)
    weights = np.array([[Mixture(stage["mixture"]).aligned(domains) for stage in row] for row in stages])
    documents = documents or largest([folder.evaluated_documents(corpus) for row in folders for folder in row])
    losses, tokens_K = _domains(corpus, by_size, folders, documents)
    return Measured(
        names=tuple(one.name for one in candidates),
        seeds=tuple(seeds),
        size=size,
        domains=domains,
        natural=by_size,
        weights=weights.mean(axis=1),
        epochs=(consumed / once).mean(axis=1),
        steps=_same("steps", folders, stages) if equal_tokens else stages[0][0]["steps"],
        tokens=_same("tokens", folders, stages) if equal_tokens else stages[0][0]["tokens"],
        table=Measurements(_entrants(candidates, weights.mean(axis=1)), tuple(seeds), losses, _half_way(folders)),
        loss=np.stack([one.nats_CSD.sum(axis=2) for one in losses], axis=-1) / tokens_K,
        curves=tuple(_curve(row) for row in folders),
        documents=documents,
        keys=tuple({seed: stage["key"] for seed, stage in zip(seeds, row, strict=True)} for row in stages),
    )


def _entrants(candidates: Sequence[Candidate], weights_CK: np.ndarray) -> tuple[Entrant, ...]:
    return tuple(
        Entrant(
            name=one.name,
            role=one.role,
            weights=tuple(weights_K),
            method=one.method,
            is_reference=one.is_reference,
            allowed=one.allowed,
            lent=one.lent,
        )
        for one, weights_K in zip(candidates, weights_CK.tolist(), strict=True)
    )


def _finished(run: RunDirectory, size: str, candidate: Candidate, seed: int) -> TrainingFolder:
    folder = candidate.trainings.get(seed)
    if folder is None or not folder.finished:
        raise RunError(
            f"{run.root if folder is None else folder.folder}: mixture {candidate.name!r} at size {size!r} with seed "
            f"{seed} is not trained to the end; finish it with: doremi run {run.root}"
        )
    return folder


def _check_weights(run: RunDirectory, candidate: Candidate, stages: Mapping[int, dict[str, Any]]) -> None:
    """No result is shown beside weights that its model was not trained on."""
    for seed, stage in stages.items():
        record = candidate.records.get(seed)
        if record is not None and not same_weights(record.weights, stage["mixture"]):
            raise RunError(
                f"{run.root}: mixture {candidate.name!r} has changed since its model of seed {seed} was trained; "
                f"train it on the new weights with: doremi run {run.root}"
            )


def _same(key: str, folders: list[list[TrainingFolder]], stages: list[list[dict[str, Any]]]) -> int:
    expected = stages[0][0][key]
    for row, values in zip(folders, stages, strict=True):
        for folder, stage in zip(row, values, strict=True):
            if stage[key] != expected:
                raise RunError(
                    f"{folder.folder}: was trained on {stage[key]} {key}, {folders[0][0].folder} on {expected}; "
                    "only equal lengths can be compared: train them again with one config"
                )
    return int(expected)


def _domains(
    corpus: Corpus, natural_K: np.ndarray, folders: list[list[TrainingFolder]], part: Part
) -> tuple[tuple[DomainLosses, ...], np.ndarray]:
    """Each domain's losses, and tokens of its documents, `[K]`. They judge in whichever half they are."""
    nats = [[nats_on(folder, corpus, part) for folder in row] for row in folders]
    made, tokens = [], []
    for k, (domain, count) in enumerate(zip(corpus.domains, part, strict=True)):
        nats_CSD = np.array([[by_domain[k] for by_domain in row] for row in nats])
        _check_finite(nats_CSD, domain, folders)
        documents = documents_on(corpus, domain, count)
        if not documents["bytes"].sum():
            raise DataError(
                f"domain {domain!r} has no validation text, so nothing can be said of it; hold out more of its "
                "documents and prepare the corpus again"
            )
        made.append(DomainLosses(domain, float(natural_K[k]), documents["bytes"].astype(float), nats_CSD))
        tokens.append(documents["tokens"].sum())
    return tuple(made), np.array(tokens)


def _check_finite(nats_CSD: np.ndarray, domain: str, folders: list[list[TrainingFolder]]) -> None:
    for c, s, _ in np.argwhere(~np.isfinite(nats_CSD)):
        folder: Path = folders[c][s].folder
        raise DamageError(
            f"{folder / 'evaluation.documents.f64'}: has a loss in domain {domain!r} that is not finite; "
            f"remove {folder} and run again"
        )


def _half_way(folders: list[list[TrainingFolder]]) -> np.ndarray | None:
    """Bits per byte `[C, S, K]` at half the steps, or a step that is less than a tenth of them away."""
    rows = [[_bits_at_half(folder) for folder in row] for row in folders]
    return np.array(rows) if all(bits is not None for row in rows for bits in row) else None


def _bits_at_half(folder: TrainingFolder) -> np.ndarray | None:
    """Of both halves of the held-out documents, as those at the end are."""
    middle = folder.stage()["steps"] / 2
    near = min(folder.records("evaluation"), key=lambda record: abs(record["step"] - middle), default=None)
    if near is None or abs(near["step"] - middle) >= 0.2 * middle:
        return None
    return np.mean([near[half]["bits_per_byte"] for half in ("select", "report")], axis=0)


def _curve(folders: list[TrainingFolder]) -> Curve:
    """Mean over seeds, at the steps at which every seed was evaluated."""
    by_seed = [
        {record["step"]: np.array(record["report"]["bits_per_byte"], float) for record in folder.records("evaluation")}
        for folder in folders
    ]
    steps = sorted(set(by_seed[0]).intersection(*by_seed))
    if not steps:
        raise DamageError(f"{folders[0].folder / 'metrics.jsonl'}: has no evaluation that its other seeds have too")
    return Curve(np.array(steps), np.array([np.mean([bits[step] for bits in by_seed], axis=0) for step in steps]))
