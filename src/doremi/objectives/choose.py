"""From the configuration of a proxy to its objective."""

from __future__ import annotations

from dataclasses import fields, replace

from doremi.config import ProxyConfig
from doremi.errors import ConfigError
from doremi.mixture.domains import DomainSet, Mixture
from doremi.objectives.dro import GroupDRO
from doremi.objectives.reweighting import Reweighting
from doremi.objectives.variants import Choices, VariantDRO, official


def make_objective(settings: ProxyConfig, domains: DomainSet, vocab_size: int, sampling: Mixture) -> Reweighting:
    """Algorithm 1, or the variant that the configuration names; `ConfigError` for impossible choices.

    `sampling` is what the proxy's batches are drawn with.
    """
    lagged = settings.update == "lagged"
    if settings.variant == "paper" and not settings.choices:
        dro = GroupDRO(len(domains), eta=settings.eta, smoothing=settings.smoothing)
        return Reweighting(dro, weighs_ahead=lagged, scores_clipped_excess=True)
    known = [field.name for field in fields(Choices)]
    if unknown := [name for name in settings.choices if name not in known]:
        raise ConfigError(f"proxy.choices: there is no choice {unknown[0]!r}; there are {', '.join(known)}")
    try:
        choices = replace(_variant(settings.variant, domains, vocab_size, sampling), **settings.choices)
        dro = VariantDRO(len(domains), choices, eta=settings.eta, smoothing=settings.smoothing)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"proxy.choices: {error}; docs/algorithm.md lists the choices") from None
    return Reweighting(dro, weighs_ahead=lagged, scores_clipped_excess=choices.scores_clipped_excess)


def _variant(name: str, domains: DomainSet, vocab_size: int, sampling: Mixture) -> Choices:
    """What a named variant chooses."""
    weights = sampling.aligned(domains)
    return {
        "paper": Choices(),
        "official": official(len(domains), vocab_size=vocab_size, start=weights, sampling=weights),
        "hardest": Choices(excess="proxy"),
        "easiest": Choices(excess="minus_reference", clip="none"),
    }[name]
