"""One pair domain by domain: profile (where loss moves from and to) and level (what each domain gains or loses).

A training is early or late as a whole, so that all its domains are off together. The profile, each domain's difference
less the mean difference, does not have that noise and resolves what levels cannot. The few degrees of freedom of one
domain are helped out by those of the others.

Shapes: any leading axes, C candidates, S seeds, K domains. All figures are relative to a domain's level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from doremi.statistics.compared import Compared
from doremi.statistics.document_noise import DocumentNoise
from doremi.statistics.parts import Parts
from doremi.statistics.seed_noise import residuals

PRIOR = 8.0  # degrees of freedom that the other domains count for


@dataclass(frozen=True, eq=False)
class ByDomain:
    """Relative differences of a pair and their parts, `[..., K]` each; parts hold for one domain at a time.

    One domain alone has no profile: its difference is the mean difference.
    """

    profile: np.ndarray
    profile_parts: Parts
    level: np.ndarray
    level_parts: Parts


def by_domain(bits_CSK: np.ndarray, documents: DocumentNoise, compared: Compared, one: int, other: int) -> ByDomain:
    """Candidate `one` less `other`; `compared` gives how noisy their pair is against the rest."""
    candidates, seeds, domains = bits_CSK.shape[-3:]
    relative = bits_CSK / documents.levels[..., None, None, :]
    difference = (relative[..., one, :, :] - relative[..., other, :, :]).mean(axis=-2)
    noise, degrees = compared.noise, (candidates - 1) * (seeds - 1)
    left = np.moveaxis(residuals(np.moveaxis(relative, -1, -3)), -3, -1)
    apart = left - left.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # no noise at all, or one seed
        noisier = np.maximum(1.0, noise.variance[..., one, other] / (2 * noise.residual))[..., None]
    of_level = noisier * _moderated(left, degrees)
    of_profile = noisier * _moderated(apart, degrees) * (domains / (domains - 1) if domains > 1 else np.nan)
    doc, freedom = documents.variance[..., one, other, :], documents.freedom
    doc_profile = doc * (1 - 2 / domains) + doc.mean(axis=-1, keepdims=True) / domains
    return ByDomain(
        profile=difference - difference.mean(axis=-1, keepdims=True),
        profile_parts=Parts(2 * of_profile / seeds, PRIOR + degrees, doc_profile, freedom),
        level=difference,
        level_parts=Parts(2 * of_level / seeds, noise.freedom, doc, freedom),
    )


def _moderated(left_CSK: np.ndarray, degrees: int) -> np.ndarray:
    """Mean squares of residuals by domain, drawn towards their mean over domains; NaN with one seed."""
    if degrees < 1:
        return np.full((*left_CSK.shape[:-3], left_CSK.shape[-1]), np.nan)
    own = np.square(left_CSK).sum(axis=(-3, -2)) / degrees
    return (PRIOR * own.mean(axis=-1, keepdims=True) + degrees * own) / (PRIOR + degrees)
