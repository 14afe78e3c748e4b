"""Finished models on more held-out documents than they were trained with, and how many a verdict needs."""

from __future__ import annotations

import numpy as np

from doremi.config import TrainingConfig
from doremi.corpus import store
from doremi.corpus.pool import documents_on, whole
from doremi.corpus.value import Corpus
from doremi.errors import TrainingError
from doremi.evaluation.perplexity import ValidationSet
from doremi.files import write_bytes
from doremi.pipeline.trainings import scorer
from doremi.pipeline.workspace import Workspace
from doremi.rundir.held_out import JUDGES, largest
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.node import training_place
from doremi.rundir.part import PartRecord, nats_on, write_part
from doremi.rundir.specs import EvaluationSpec, PartSpec
from doremi.statistics.enough import enough, noise_of
from doremi.statistics.table import DomainLosses, Entrant, Measurements


def evaluate(space: Workspace, corpus: Corpus, spec: EvaluationSpec, settings: TrainingConfig, name: str) -> None:
    """Losses of a finished model on a part of the held-out documents, in the folder of its training."""
    path = space.root / training_place(spec.training) / spec.file
    if space.world.from_main(int(path.exists())):
        return
    length = space.config.data.sequence_length
    forward, memory = scorer(space, settings, length, spec.training)
    tokens = [store.tokens(corpus, domain, "validation") for domain in corpus.domains]
    documents = ValidationSet(corpus, tokens, length, spec.documents, memory)
    with space.timed(name, tokens=sum(documents.documents.tokens.tolist())):
        nats = documents.nats(forward, space.world)
    if not np.isfinite(nats).all():
        raise TrainingError(f"{path.parent}: its loss on the held-out documents is not finite")
    if space.world.is_main:
        write_bytes(path, nats.astype("<f8").tobytes())


def judge_part(space: Workspace, corpus: Corpus, spec: PartSpec, settings: TrainingConfig, name: str) -> None:
    """Record how many documents are enough, by the four trainings of the spec."""
    folders = [TrainingFolder(space.root / training_place(key)) for key in spec.trainings]
    start = largest([folder.evaluated_documents(corpus) for folder in folders])
    for key, folder in zip(spec.trainings, folders, strict=True):
        if folder.evaluated_documents(corpus) != start:  # trained when all that is held out was in use
            evaluate(space, corpus, EvaluationSpec(key, start), settings, name)
    space.world.barrier()
    if space.world.is_main:
        table = _table(corpus, spec, [nats_on(folder, corpus, start) for folder in folders])
        part = enough(table, whole(corpus), spec.seeds)
        noise = noise_of(table, "uniform", spec.seeds)
        write_part(
            space.root,
            PartRecord(
                key=spec.key, documents=part, pool=whole(corpus), first=start,
                seed_variance=noise.seeds, document_variance=float(noise.documents_K.sum()),
            ),
        )  # fmt: skip


def _table(corpus: Corpus, spec: PartSpec, nats: list[list[np.ndarray]]) -> Measurements:
    """Two candidates with their seeds; `nats` of each training by domain."""
    seeds = len(nats) // JUDGES
    domains = []
    for k, (name, natural) in enumerate(zip(corpus.domains, spec.natural, strict=True)):
        nats_CSD = np.array([one[k] for one in nats]).reshape(JUDGES, seeds, -1)
        size_D = documents_on(corpus, name, nats_CSD.shape[-1])["bytes"].astype(float)
        domains.append(DomainLosses(name, natural, size_D, nats_CSD))
    entrants = tuple(Entrant(str(i), "plain", ()) for i in range(JUDGES))
    return Measurements(entrants, tuple(range(seeds)), tuple(domains))
