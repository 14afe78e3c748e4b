"""All differences between candidates on one average of the domains, with their uncertainty.

Shapes: any leading axes, C candidates, S seeds, K domains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from doremi.statistics.document_noise import DocumentNoise
from doremi.statistics.parts import Parts
from doremi.statistics.seed_noise import SeedNoise, seed_noise


@dataclass(frozen=True, eq=False)
class Compared:
    """`means` `[..., C]` and `difference` `[..., C, C]` are in bits per byte, row minus column; `parts` are theirs.

    `noise` is what the seeds' part was made from.
    """

    means: np.ndarray
    difference: np.ndarray
    parts: Parts
    noise: SeedNoise
    seeds: int

    @property
    def known(self) -> bool:
        """Whether the seeds show any noise. Not with one seed, one candidate, or seeds that are all alike."""
        return bool(np.isfinite(self.noise.residual).all())

    def pair(self, one: int, other: int) -> tuple[np.ndarray, Parts]:
        """The difference `one` minus `other` and its parts, `[...]`."""
        at = (..., one, other)
        degrees = np.asarray(self.parts.document_freedom)
        parts = Parts(self.parts.seeds[at], self.parts.seed_freedom, self.parts.documents[at], degrees[at])
        return self.difference[at], parts


def compare(bits_CSK: np.ndarray, documents: DocumentNoise, weights_K: np.ndarray, hubs: np.ndarray) -> Compared:
    """Candidates compared on the average that `weights_K` makes. `hubs`: bool `[C]`, those that a search has found."""
    bits_CS = bits_CSK @ weights_K
    means, seeds = bits_CS.mean(axis=-1), bits_CS.shape[-1]
    noise = seed_noise(bits_CS, hubs)
    of_documents, degrees = documents.of(weights_K)
    return Compared(
        means=means,
        difference=means[..., :, None] - means[..., None, :],
        parts=Parts(noise.variance / seeds, noise.freedom, of_documents, degrees),
        noise=noise,
        seeds=seeds,
    )
