"""Made-up tournaments by the thousand: what trainings and documents do to losses, with the truth known.

A run is off as a whole (early or late), and in each domain by itself. A document suits one candidate more than another,
for good, and differs from run to run as well. Figures are relative; levels of domains are those of small models.

Shapes: M tournaments, C candidates, S seeds, K domains, D documents of a domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from doremi.statistics.document_noise import DocumentNoise, document_noise, domain_documents

Kind = Literal["normal", "t3", "late"]
KINDS: tuple[Kind, ...] = ("normal", "t3", "late")
DOMAINS = 9
UNIFORM_K = np.full(DOMAINS, 1 / DOMAINS)
NATURAL_K = np.arange(DOMAINS, 0, -1) / np.arange(DOMAINS, 0, -1).sum()
_LEVELS_K = np.linspace(2.4, 3.7, DOMAINS)
_DOCUMENT_K = 0.006 * np.exp(0.6 * np.random.default_rng(0).standard_normal(DOMAINS))
_RUN_AND_DOCUMENT = 0.004
_LATE, _BEHIND = 0.15, 0.025  # this share of the trainings is late, and worse by so much


@dataclass(frozen=True)
class World:
    """Relative standard deviations of a run: as a whole, and in each domain; `hub` times as much for candidate 0.

    `shared`: what all candidates of one seed have alike. `documents` a domain, the sizes of which are log-normal with
    `sizes` as standard deviation.
    """

    run: float = 0.0075
    domain: float = 0.004
    kind: Kind = "normal"
    hub: float = 1.0
    shared: float = 0.0
    documents: int = 30
    sizes: float = 0.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """M tournaments: bits per byte `[M, C, S, K]` and the documents' noise over all seeds."""

    bits: np.ndarray
    documents: DocumentNoise


def draw(random: np.random.Generator, world: World, effect_CK: np.ndarray, seeds: int, count: int) -> Drawn:
    """`count` tournaments; `effect_CK` are true relative differences, of candidates in each domain."""
    shape = (count, len(effect_CK), seeds)
    scale_C = np.where(np.arange(shape[1]) == 0, world.hub, 1.0)
    run = scale_C[:, None] * _run_noise(random, world, shape)
    run = run + world.shared * random.standard_normal((count, 1, seeds))
    size_D = _sizes(world)
    share_D = size_D / size_D.sum()
    bits, domains = [], []
    for k, level in enumerate(_LEVELS_K):
        of_run = effect_CK[:, k, None] + run
        of_run = of_run + world.domain * scale_C[:, None] * random.standard_normal(shape)
        of_document = _DOCUMENT_K[k] * random.standard_normal((*shape[:2], len(size_D)))
        of_document += _RUN_AND_DOCUMENT / math.sqrt(seeds) * random.standard_normal(of_document.shape)
        # the mean over a run's documents: what they share over seeds is in `of_document`, the rest is centred
        own = _RUN_AND_DOCUMENT * math.sqrt(np.square(share_D).sum()) * random.standard_normal(shape)
        of_run = of_run + own - own.mean(axis=2, keepdims=True)
        bits.append(level * (1 + of_run + (of_document @ share_D)[..., None]))
        nats_CD = size_D * math.log(2) * level * (1 + of_run.mean(axis=2)[..., None] + of_document)
        domains.append(domain_documents(nats_CD, size_D))
    return Drawn(np.stack(bits, axis=-1), document_noise(domains))


@dataclass(frozen=True, eq=False)
class Full:
    """M tournaments with every seed's documents, for looks at some of the seeds and some of the candidates."""

    bits: np.ndarray
    nats: tuple[np.ndarray, ...]
    size: np.ndarray

    def look(self, seeds: slice, candidates_MC: np.ndarray | None = None) -> Drawn:
        """As if only these seeds, and of each tournament only these candidates, had been trained."""
        bits, documents = self.bits[:, :, seeds], [nats[:, :, seeds].mean(axis=2) for nats in self.nats]
        if candidates_MC is not None:
            bits = np.take_along_axis(bits, candidates_MC[:, :, None, None], axis=1)
            documents = [np.take_along_axis(nats, candidates_MC[:, :, None], axis=1) for nats in documents]
        return Drawn(bits, document_noise([domain_documents(nats, self.size) for nats in documents]))


def draw_full(random: np.random.Generator, world: World, effect_CK: np.ndarray, seeds: int, count: int) -> Full:
    """As `draw`, document by document and seed by seed."""
    shape = (count, len(effect_CK), seeds)
    scale_C = np.where(np.arange(shape[1]) == 0, world.hub, 1.0)
    run = scale_C[:, None] * _run_noise(random, world, shape)
    size_D, nats = _sizes(world), []
    for k, level in enumerate(_LEVELS_K):
        of_run = effect_CK[:, k, None] + run + world.domain * scale_C[:, None] * random.standard_normal(shape)
        own = _DOCUMENT_K[k] * random.standard_normal((*shape[:2], 1, len(size_D)))
        each = own + _RUN_AND_DOCUMENT * random.standard_normal((*shape, len(size_D)))
        nats.append(size_D * math.log(2) * level * (1 + of_run[..., None] + each))
    bits = [one.sum(axis=-1) / (size_D.sum() * math.log(2)) for one in nats]
    return Full(np.stack(bits, axis=-1), tuple(nats), size_D)


def same(candidates: int, first: float = 0.0, rest: float = 0.0) -> np.ndarray:
    """Effects `[C, K]`: candidate 0 is off by `first`, candidate 1 is the reference, all others are off by `rest`."""
    effect_C = np.array([first, 0.0, *[rest] * (candidates - 2)])
    return np.repeat(effect_C[:, None], DOMAINS, axis=1)


def chunks(count: int, size: int = 2000) -> Sequence[int]:
    """`count` in pieces that fit into memory."""
    return [min(size, count - start) for start in range(0, count, size)]


def _run_noise(random: np.random.Generator, world: World, shape: tuple[int, ...]) -> np.ndarray:
    if world.kind == "t3":
        return world.run / math.sqrt(3) * random.standard_t(3, shape)
    if world.kind == "late":
        return _RUN_AND_DOCUMENT * random.standard_normal(shape) + _BEHIND * (random.random(shape) < _LATE)
    return world.run * random.standard_normal(shape)


def _sizes(world: World) -> np.ndarray:
    spread_D = np.random.default_rng(1).standard_normal(world.documents)
    return np.maximum(20, 500 * np.exp(world.sizes * spread_D)).astype(int)
