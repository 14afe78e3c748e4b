"""The objective that a configuration asks for."""

from __future__ import annotations

from typing import Any

from doremi.config import ProxyConfig
from doremi.errors import ConfigError
from doremi.mixture.domains import DomainSet, Mixture
from doremi.objectives.dro import GroupDRO
from doremi.objectives.variants import Choices, VariantDRO, official


def make_objective(
    settings: ProxyConfig, domains: DomainSet, vocab_size: int, sampling: Mixture
) -> GroupDRO | VariantDRO:
    """Algorithm 1, or the variant that the configuration names; `ConfigError` for impossible choices."""
    if settings.variant == "paper" and not settings.choices:
        return GroupDRO(len(domains), eta=settings.eta, smoothing=settings.smoothing)
    try:
        choices = Choices(**{**_variant(settings.variant, domains, vocab_size, sampling), **settings.choices})
        return VariantDRO(len(domains), choices, eta=settings.eta, smoothing=settings.smoothing)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"proxy.choices: {error}; docs/algorithm.md lists the choices") from None


def _variant(name: str, domains: DomainSet, vocab_size: int, sampling: Mixture) -> dict[str, Any]:
    """Fields of `Choices` that a named variant sets."""
    weights = sampling.aligned(domains)
    return {
        "paper": {},
        "official": vars(official(len(domains), vocab_size=vocab_size, start=weights, sampling=weights).choices),
        "hardest": {"excess": "proxy"},
        "easiest": {"excess": "minus_reference", "clip": "none"},
    }[name]
