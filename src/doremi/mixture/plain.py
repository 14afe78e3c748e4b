"""Plain mixtures: what anyone would try first, from token counts alone, and what every learned mixture must beat.

    natural       w_i ~ n_i             by size, the default of most corpora
    uniform       w_i = 1 / K           hard to beat where every domain counts the same (Aioli's stratified baseline)
    temperature   w_i ~ n_i ** (1 / T)  between the two: T = 1 is natural, a large T is nearly uniform
    unimax        even, but no domain more than E passes    UniMax, Chung et al. 2023, arXiv:2304.09151

`n_i` are the training tokens of domain i. Weights are fractions of tokens, as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real

from doremi.errors import MixtureError
from doremi.mixture.domains import DomainSet, Mixture


def natural(tokens: Mapping[str, float]) -> Mixture:
    """Each domain by its size. `tokens`: training tokens by domain, all above 0, else `MixtureError`."""
    return Mixture(_counts(tokens))


def uniform(names: Iterable[str]) -> Mixture:
    """Every domain the same weight, 1 / K."""
    return Mixture({name: 1.0 for name in DomainSet(names)})


def temperature(tokens: Mapping[str, float], temperature: float) -> Mixture:
    """Weights in proportion to tokens ** (1 / temperature); 1 is natural, above 1 lifts the small domains.

    `MixtureError` unless the temperature is a finite number above 0 and every domain has tokens.
    """
    counts, exponent = _counts(tokens), 1.0 / _positive("the temperature", temperature)
    largest = max(counts.values())  # taken out first, so that no power of a large count overflows
    return Mixture({name: math.exp(exponent * math.log(n / largest)) for name, n in counts.items()})


def unimax(tokens: Mapping[str, float], budget_tokens: float, max_epochs: float) -> Mixture:
    """As even as a cap on repetition allows (UniMax, Chung et al. 2023, arXiv:2304.09151).

    From the smallest domain to the largest, each is offered an even share of the budget that is left and takes at
    most `max_epochs` passes over its tokens; what it cannot take goes to those after it. A budget above
    `max_epochs` passes over everything is a `MixtureError` that states the largest feasible one.
    """
    counts = _counts(tokens)
    left = budget = _positive("the budget in tokens", budget_tokens)
    cap = _positive("the largest number of epochs", max_epochs)
    feasible = math.fsum(cap * n for n in counts.values())
    if budget > feasible:
        raise MixtureError(
            f"a budget of {budget:.17g} tokens needs more than {cap:.17g} epochs of every domain. "
            f"The largest feasible budget is {feasible:.17g} tokens. Lower the budget or allow more epochs"
        )
    if budget / len(counts) <= cap * min(counts.values()):
        return uniform(counts)  # to the last bit, so that equal mixtures are seen to be equal
    taken: dict[str, float] = {}
    for name in sorted(counts, key=lambda name: (counts[name], name)):
        taken[name] = min(left / (len(counts) - len(taken)), cap * counts[name])
        left -= taken[name]
    return Mixture({name: taken[name] for name in counts})


def epochs(mixture: Mixture, tokens: Mapping[str, float], budget_tokens: float) -> dict[str, float]:
    """Passes over each domain when `budget_tokens` are drawn by `mixture`: weight x budget / tokens.

    In the order of `tokens`; `MixtureError` unless both name the same domains and every domain has tokens.
    """
    counts, budget = _counts(tokens), _positive("the budget in tokens", budget_tokens)
    weights = mixture.aligned(DomainSet(counts))
    return {name: weight * budget / counts[name] for name, weight in zip(counts, weights, strict=True)}


def _counts(tokens: Mapping[str, float]) -> dict[str, float]:
    """`tokens` as floats, each finite and above 0; errors name the domain."""
    DomainSet(tokens)
    return {name: _positive(f"the token count of domain {name!r}", count) for name, count in tokens.items()}


def _positive(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise MixtureError(f"{what} is {value!r}, not a number")
    if not math.isfinite(value) or value <= 0:
        raise MixtureError(f"{what} is {value!r}; it must be finite and above 0")
    return float(value)
