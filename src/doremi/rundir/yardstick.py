"""What a user should know of the reference mixture as a candidate: that it is one, and whether limits allow it."""

from __future__ import annotations

from doremi.config import RunConfig
from doremi.rundir.graph import Graph


def remarks(config: RunConfig, plan: Graph) -> list[str]:
    """Sentences for people, none where the configuration says it all."""
    name, said = plan.reference_mixture, []
    if not {"reference", config.reference.mixture} & set(config.candidates.mixtures):
        said.append(
            f"{name} is trained as a candidate too. It is the reference mixture, which others are compared with."
        )
    if any(not one.allowed for one in plan.candidates):
        said.append(
            f"{name} breaks the limits. It is trained as it is, only to compare with, and is never recommended."
        )
    return said
