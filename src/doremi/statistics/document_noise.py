"""How much a difference between two candidates moves with the validation documents, linearised.

A domain's bits per byte are a ratio of sums. To first order it moves with one document by that document's nats less
its share of the sum, so that no resampling is needed.

Shapes: any leading axes, C candidates, K domains, D documents of one domain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PRIOR = 4.0  # degrees of freedom that the other domains count for
FEWEST = 1.5  # effective documents; one document among crumbs shows nothing of how documents differ


@dataclass(frozen=True, eq=False)
class DomainDocuments:
    """One domain. `bits` `[..., C]` is its level; `spread` `[..., C, C]` the relative variance of one document.

    `spread[a, b]` is of the difference between a and b, in units of the level squared; NaN where it shows none.
    `documents` is the effective number, (sum of bytes)^2 / sum of bytes^2.
    """

    bits: np.ndarray
    spread: np.ndarray
    documents: float


@dataclass(frozen=True, eq=False)
class DocumentNoise:
    """`[..., C, C, K]`: relative variance of each domain's difference, and its degrees of freedom; `levels` `[..., K]`.

    All NaN where no domain has documents enough.
    """

    variance: np.ndarray
    freedom: np.ndarray
    levels: np.ndarray

    def of(self, weights_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the weighted mean's difference in bits per byte squared, and its degrees; `[..., C, C]` both."""
        part = np.square(weights_K * self.levels)[..., None, None, :] * self.variance
        total, spread = part.sum(axis=-1), (np.square(part) / self.freedom).sum(axis=-1)
        # Welch and Satterthwaite: a sum of estimated variances, each with its own degrees of freedom
        degrees = np.divide(np.square(total), spread, out=np.ones_like(total), where=spread > 0)
        return total, np.where(np.isnan(total), np.nan, degrees)


def domain_documents(nats_CD: np.ndarray, bytes_D: np.ndarray) -> DomainDocuments:
    """One domain from the documents' nats `[..., C, D]`, means over seeds."""
    total, size = nats_CD.sum(axis=-1), float(bytes_D.sum())
    share = bytes_D / size
    documents = 1 / float(np.square(share).sum())
    bits = total / (size * math.log(2))
    if documents < FEWEST:
        unknown = np.full((*total.shape, total.shape[-1]), np.nan)
        return DomainDocuments(bits, unknown, documents)
    own = nats_CD - nats_CD.mean(axis=-2, keepdims=True)  # what all share cancels in every difference: keep digits
    moved = own - own.sum(axis=-1, keepdims=True) * share
    squared = moved @ np.swapaxes(moved, -1, -2)
    diagonal = np.diagonal(squared, axis1=-2, axis2=-1)
    differences = np.maximum(0.0, diagonal[..., :, None] + diagonal[..., None, :] - 2 * squared)
    scale = _unshrunk(share) * documents / np.square(not_zero(total.mean(axis=-1)))
    return DomainDocuments(bits, differences * scale[..., None, None], documents)


def document_noise(domains: Sequence[DomainDocuments]) -> DocumentNoise:
    """All domains together: variances drawn towards their mean over domains, which small ones live on."""
    documents = np.array([one.documents for one in domains])
    own = np.stack([one.spread for one in domains], axis=-1)
    levels = not_zero(np.stack([one.bits.mean(axis=-1) for one in domains], axis=-1))
    degrees = np.where(documents >= FEWEST, documents - 1, 0.0)
    if not degrees.any():
        return DocumentNoise(np.full_like(own, np.nan), np.full(len(domains), np.nan), levels)
    own = np.where(degrees > 0, own, 0.0)
    pooled = (own * degrees).sum(axis=-1, keepdims=True) / degrees.sum()
    moderated = (PRIOR * pooled + degrees * own) / (PRIOR + degrees)
    return DocumentNoise(moderated / documents, np.minimum(PRIOR + degrees, degrees.sum()), levels)


def not_zero(level: np.ndarray) -> np.ndarray:
    """A level to divide by: where nothing is lost, nothing differs either, whatever it is divided by."""
    return np.where(level > 0, level, 1.0)


def _unshrunk(share: np.ndarray) -> float:
    """What squared deviations are multiplied with to be right on average.

    Documents differ from a mean that they have pulled towards themselves. With equal sizes that leaves (n - 1) / n of
    the variance, and a large document pulls more. Documents' bits per byte are taken to vary alike whatever the size.
    Large ones vary less in truth, so this errs to the wide side.
    """
    second, third = float((share**2).sum()), float((share**3).sum())
    return second / (second - 2 * third + second**2)
