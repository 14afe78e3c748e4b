"""Which of the held-out documents are in use: the first so many of each domain, in an order that never changes.

A training is evaluated on `FIRST` of each domain. A verdict may need more (statistics/enough.py), and a larger part
holds every smaller one. Nothing that is held out is ever trained on, in use or not.

Shapes: K domains, D documents of one domain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from doremi.corpus.sampler import mix
from doremi.corpus.value import Corpus
from doremi.errors import DamageError

FIRST = 64  # documents of a domain
_STRIDE = np.uint64(0x9E3779B97F4A7C15)  # consecutive places, far apart before they are mixed (SplitMix64)

Part = tuple[int, ...]
"""Documents in use, `[K]`."""


def whole(corpus: Corpus) -> Part:
    """All that is held out."""
    return tuple(corpus.count("validation", "documents"))


def first(corpus: Corpus) -> Part:
    """What a training is evaluated on."""
    return tuple(min(FIRST, documents) for documents in whole(corpus))


def first_tokens(corpus: Corpus) -> list[int]:
    """Its tokens, about where it is not the whole, `[K]`."""
    pairs = zip(corpus.count("validation", "tokens"), first(corpus), whole(corpus), strict=True)
    return [-(-tokens * used // documents) if documents else 0 for tokens, used, documents in pairs]


def documents_on(corpus: Corpus, domain: str, number: int) -> dict[str, np.ndarray]:
    """`bytes`, `report` and `tokens` of the first `number` documents of a domain, in the order of their file.

    `DamageError` where the files don't hold as many as the manifest says.
    """
    documents, expected = corpus.validation_documents(domain), corpus.entries[domain].validation.documents
    if any(len(value) != expected for value in documents.values()):
        raise DamageError(f"{corpus.path(domain, 'validation.documents')}: does not hold {expected} documents")
    chosen = in_use(documents["report"], number)
    return {key: value[chosen] for key, value in documents.items()}


def in_use(report_D: NDArray[np.bool_], number: int) -> NDArray[np.bool_]:
    """Which documents of a domain the first `number` are, `[D]`; both halves alike, and one of each before a second."""
    place = np.zeros(len(report_D))
    for half in (False, True):
        own = np.flatnonzero(report_D == half)
        place[own[np.argsort(_shuffled(own), kind="stable")]] = np.arange(len(own)) / max(1, len(own))
    chosen = np.zeros(len(report_D), bool)
    chosen[np.argsort(place, kind="stable")[:number]] = True
    return chosen


def _shuffled(places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for each place in the pool that looks random, the same everywhere."""
    return mix((places.astype(np.uint64) + np.uint64(1)) * _STRIDE)
