"""What a mixture may be: weights, totals of groups, passes over a domain."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from doremi.config.reach import Reaches
from doremi.config.section import Section


class DomainLimits(Section):
    """Limits of one domain. What is not given is as in `limits` itself."""

    reaches: ClassVar[Reaches] = Reaches("mixture", "main", "longer", "fewshot")

    weight: float | None = Field(default=None, ge=0, le=1)
    """Fixes the weight."""
    min_weight: float | None = Field(default=None, ge=0, le=1)
    """Smallest weight."""
    max_weight: float | None = Field(default=None, ge=0, le=1)
    """Largest weight."""
    max_epochs: float | None = Field(default=None, gt=0)
    """Most epochs of its training tokens at the budget."""

    @model_validator(mode="after")
    def _fixed_or_bounded(self) -> DomainLimits:
        if self.weight is not None and (self.min_weight, self.max_weight) != (None, None):
            raise ValueError("give either weight, which fixes it, or min_weight and max_weight")
        return self


class GroupLimits(Section):
    """What several domains' weights may add up to."""

    reaches: ClassVar[Reaches] = Reaches("mixture", "main", "longer", "fewshot")

    domains: list[str] = Field(min_length=1)
    """Names of the domains. A domain is in one group at most."""
    min_weight: float = Field(default=0.0, ge=0, le=1)
    """Smallest total."""
    max_weight: float = Field(default=1.0, ge=0, le=1)
    """Largest total. If it equals min_weight, the total is fixed."""


class LimitsConfig(Section):
    """What a mixture may be. Every candidate is replaced by the nearest allowed mixture (least KL divergence). That one
    is trained, compared, recommended and exported. The reference mixture is left as it is. If it breaks the limits, the
    others are only measured against it, and it is never recommended."""

    reaches: ClassVar[Reaches] = Reaches("mixture", "main", "longer", "fewshot")

    max_epochs: float | None = Field(default=None, gt=0)
    """Most epochs of any domain in a final run of `budget_tokens`."""
    min_weight: float = Field(default=0.0, ge=0, le=1)
    """Smallest weight of any domain."""
    max_weight: float = Field(default=1.0, ge=0, le=1)
    """Largest weight of any domain."""
    domains: dict[str, DomainLimits] = Field(default={})
    """Limits of single domains, by name."""
    groups: dict[str, GroupLimits] = Field(default={})
    """Groups of domains and what their weights may add up to, under any name."""
