"""The mixture nearest to a wanted one within what is allowed: repetition, minimums, maximums, groups, fixed domains.

`project` returns the weights q that minimise KL(q || p) = sum_i q_i log(q_i / p_i) subject to

    sum_i q_i = 1,   lower_i <= q_i <= upper_i,   lower_g <= sum of q_i over group g <= upper_g   (disjoint groups)

the I-projection of p (Csiszar 1975, Annals of Probability 3). Its solution is q_i = clip(p_i * s, lower_i, upper_i),
with one scale s for all, but for groups held at a limit of their total, which have their own. So domains that no limit
touches keep their ratios. KL(p || q) has the same solution where p > 0: its conditions, too, see q_i / p_i only.

The scales are found exactly. The sum of the clipped weights is piecewise linear in s, so sorted breakpoints give the
piece and one division the scale. A group's total limits the scale that its members see, and to limit the scale is to
limit each weight: a group's two limits are solved first and become narrower limits of its members. All is done in
rational numbers, with a limit read as the decimal it is written as (0.1 is 1/10); weights are rounded once, at the end.

Suffix K: by domain, in the order of a `DomainSet`. Weights are fractions of tokens, as everywhere.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Integral, Real
from typing import NamedTuple, NoReturn

from doremi.errors import MixtureError
from doremi.mixture.domains import DomainSet, Mixture

Numbers = Sequence[Fraction]
Supply = Sequence[Fraction | None]  # tokens that max_epochs allows by domain, None without a cap
ROUNDING = Fraction(1, 2**52)  # per summand: limits in conflict by less than this are so by rounding only


@dataclass(frozen=True)
class Group:
    """Domains whose weights together lie between `lower` and `upper`; the two alike fix the total."""

    domains: Sequence[str]
    lower: float = 0.0
    upper: float = 1.0


@dataclass(frozen=True)
class Constraints:
    """What a mixture may be, by domain name; a domain that is not named is free, one with min = max is fixed.

    `min_weight`, `max_weight`: 0 to 1. `groups`: by the group's name; no domain in two. `max_epochs`: passes over a
    domain's `tokens` in a final run of `budget_tokens`, a maximum of max_epochs x tokens / budget_tokens; it needs
    both. `MixtureError` for a number out of range, overlapping groups and caps without tokens or budget; limits that
    no mixture can keep are found by `project`.
    """

    min_weight: Mapping[str, float] = field(default_factory=dict)
    max_weight: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    max_epochs: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    budget_tokens: float | None = None

    def __post_init__(self) -> None:
        for key in ("min_weight", "max_weight", "max_epochs", "tokens"):
            for name, value in getattr(self, key).items():
                _check(f"{key} of domain {name!r}", value, share=key.endswith("weight"))
        if self.budget_tokens is not None:
            _check("budget_tokens", self.budget_tokens, share=False)
        elif self.max_epochs:
            raise MixtureError("max_epochs needs budget_tokens, the tokens of the final run: give both or neither")
        if missing := [name for name in self.max_epochs if name not in self.tokens]:
            raise MixtureError(f"max_epochs of domain {missing[0]!r} needs its token count: give it in tokens")
        self._check_groups()

    def _check_groups(self) -> None:
        seen: dict[str, str] = {}
        for label, group in self.groups.items():
            for end in ("lower", "upper"):
                _check(f"the {end} total of group {label!r}", getattr(group, end), share=True)
            if not group.domains:
                raise MixtureError(f"group {label!r} has no domains: name some or leave the group out")
            for name in group.domains:
                if name in seen:
                    raise MixtureError(f"domain {name!r} is in group {seen[name]!r} and again in {label!r}: keep one")
                seen[name] = label


def project(mixture: Mixture, domains: DomainSet, constraints: Constraints) -> Mixture:
    """The allowed mixture with the least KL divergence from `mixture`; `mixture` itself if it is allowed.

    Limits of domains hold exactly, as floats; totals of groups and the sum 1 hold to rounding. A domain of weight 0
    gets its minimum and no more, for more is infinitely far; only where the others cannot fill a total within their
    limits do such domains take the rest, each the same share of its room (maximum minus minimum, as its group allows).
    `MixtureError` if names differ from `domains` or no mixture is allowed: it names the limits in conflict and,
    where epochs are among them, the largest feasible budget in whole tokens.
    """
    wanted_K = mixture.aligned(domains)
    supply_K = _supply(domains, constraints)
    limits = _limits(domains, constraints, supply_K)
    if _allows(limits, wanted_K):
        return mixture
    if conflict := _conflict(limits):
        _refuse(conflict, domains, constraints, supply_K)
    weight_K = [Fraction(weight) for weight in wanted_K]
    nearest_K = _fill(Fraction(1), weight_K, *_narrowed(limits, weight_K))
    return Mixture({name: float(q) for name, q in zip(domains, nearest_K, strict=True)})  # rounding keeps limits


class _Range(NamedTuple):
    """Limits of one weight or total, what to call it, and where its upper limit is from if from epochs."""

    label: str
    lower: Fraction
    upper: Fraction
    note: str = ""


class _Limits(NamedTuple):
    """Each domain's range, and the parts that the domains fall into: groups, or one domain alone."""

    own_K: list[_Range]
    parts: list[tuple[_Range, list[int]]]  # the range of the part's total, the positions of its members


def _supply(domains: DomainSet, constraints: Constraints) -> Supply:
    """Tokens that max_epochs allows of each domain; `MixtureError` for an unknown name."""
    named: dict[str, Iterable[str]] = {f"group {label!r}": group.domains for label, group in constraints.groups.items()}
    named |= {key: getattr(constraints, key) for key in ("min_weight", "max_weight", "max_epochs", "tokens")}
    for what, names in named.items():
        if unknown := [name for name in names if name not in domains.names]:
            raise MixtureError(f"{what} names {unknown[0]!r}, which is not a domain here: use {', '.join(domains)}")
    caps, tokens = constraints.max_epochs, constraints.tokens
    return [_exact(caps[name]) * _exact(tokens[name]) if name in caps else None for name in domains]


def _limits(domains: DomainSet, constraints: Constraints, supply_K: Supply) -> _Limits:
    own_K, budget = [], _exact(constraints.budget_tokens or 1)  # without a budget no supply is limited
    for name, supply in zip(domains, supply_K, strict=True):
        upper, note = _exact(constraints.max_weight.get(name, 1)), ""
        if supply is not None and supply / budget < upper:
            upper = supply / budget
            note = f" ({constraints.max_epochs[name]} epochs of {constraints.tokens[name]} tokens)"
        own_K.append(_Range(f"domain {name!r}", _exact(constraints.min_weight.get(name, 0)), upper, note))
    parts = [
        (_Range(f"group {label!r}", _exact(group.lower), _exact(group.upper)), [*map(domains.index, group.domains)])
        for label, group in constraints.groups.items()
    ]
    grouped = {i for _, members in parts for i in members}
    return _Limits(own_K, parts + [(own, [i]) for i, own in enumerate(own_K) if i not in grouped])


def _allows(limits: _Limits, weight_K: Sequence[float]) -> bool:
    """Whether the weights keep the limits of domains as floats and those of totals to rounding."""
    if not all(float(own.lower) <= w <= float(own.upper) for own, w in zip(limits.own_K, weight_K, strict=True)):
        return False
    exact_K = [_Range("", Fraction(w), Fraction(w)) for w in weight_K]
    return not any(_misfit(part, [exact_K[i] for i in members]) for part, members in limits.parts)


def _level(total: Fraction, slope_K: Numbers, low_K: Numbers, high_K: Numbers) -> Fraction:
    """The smallest s >= 0 at which the sum of clip(slope_i * s, low_i, high_i) reaches `total`; slopes >= 0.

    Where it never does, the last breakpoint: the s from which nothing moves.
    """
    items = list(zip(slope_K, low_K, high_K, strict=True))
    points = sorted({bound / slope for slope, low, high in items if slope for bound in (low, high)})
    at = bisect_left(points, total, key=lambda s: sum(_clip(slope * s, low, high) for slope, low, high in items))
    if at == len(points):
        return points[-1] if points else Fraction(0)
    end = points[at]
    moving = [low < slope * end <= high for slope, low, high in items]  # on the piece that ends here
    if not any(moving):
        return end
    rest = total - sum(
        _clip(slope * end, *box) for (slope, *box), moves in zip(items, moving, strict=True) if not moves
    )
    return rest / sum(slope for slope, moves in zip(slope_K, moving, strict=True) if moves)


def _fill(total: Fraction, weight_K: Numbers, low_K: Numbers, high_K: Numbers) -> list[Fraction]:
    """The q in the box nearest to `weight_K` with this total, or as near it as fits; each q_i grows with the total."""
    total = _clip(total, sum(low_K, Fraction(0)), sum(high_K, Fraction(0)))
    full_K = [high if weight else low for weight, low, high in zip(weight_K, low_K, high_K, strict=True)]
    rest = total - sum(full_K)
    if rest > 0:  # more than the domains of positive weight can take
        share = rest / sum(high - full for full, high in zip(full_K, high_K, strict=True))
        return [full + share * (high - full) for full, high in zip(full_K, high_K, strict=True)]
    scale = _level(total, weight_K, low_K, high_K)
    return [_clip(weight * scale, low, high) for weight, low, high in zip(weight_K, low_K, high_K, strict=True)]


def _narrowed(limits: _Limits, weight_K: Numbers) -> tuple[list[Fraction], list[Fraction]]:
    """Limits of domains that imply those of totals: what members get at their part's least and its largest total.

    As the common scale grows, a part's total follows its members' sum until it is held, and then so is each member.
    """
    low_K, high_K = [own.lower for own in limits.own_K], [own.upper for own in limits.own_K]
    for part, members in limits.parts:
        inside = [[values[i] for i in members] for values in (weight_K, low_K, high_K)]
        ends = _fill(part.lower, *inside), _fill(part.upper, *inside)
        for i, low, high in zip(members, *ends, strict=True):
            low_K[i], high_K[i] = low, high
    return low_K, high_K


def _conflict(limits: _Limits) -> str:
    """The first limits that cannot hold together, in words; "" if all can, to rounding."""
    reach = []
    for part, members in limits.parts:
        ranges = [limits.own_K[i] for i in members]
        for one in (part, *ranges):
            if _exceeds(one.lower, one.upper, 1):
                return (
                    f"{one.label} needs {float(one.lower):.12g} but can have at most {float(one.upper):.12g}{one.note}"
                )
        if misfit := _misfit(part, ranges):
            return misfit
        lower, upper = max(part.lower, sum(r.lower for r in ranges)), min(part.upper, sum(r.upper for r in ranges))
        reach.append(part._replace(lower=lower, upper=upper))
    return _misfit(_Range("the mixture", Fraction(1), Fraction(1)), reach)


def _misfit(whole: _Range, members: Sequence[_Range]) -> str:
    """Says so if no sum of the members lies in the range of the whole."""
    need, most = sum(r.lower for r in members), sum(r.upper for r in members)
    if _exceeds(need, whole.upper, len(members)):
        each = [f"{r.label} at least {float(r.lower):.12g}" for r in members if r.lower]
        return (
            f"{whole.label} can have {float(whole.upper):.12g} but its domains need {float(need):.12g}: {_listed(each)}"
        )
    if _exceeds(whole.lower, most, len(members)):
        each = [f"{r.label} at most {float(r.upper):.12g}{r.note}" for r in members]
        return (
            f"{whole.label} needs {float(whole.lower):.12g} but its domains reach {float(most):.12g}: {_listed(each)}"
        )
    return ""


def _refuse(conflict: str, domains: DomainSet, constraints: Constraints, supply_K: Supply) -> NoReturn:
    """Raise for `conflict`, or for one that is there without epochs too, where no budget helps."""
    uncapped = _limits(domains, constraints, [None] * len(domains))
    if hopeless := _conflict(uncapped):
        raise MixtureError(f"no mixture keeps all limits: {hopeless}. Loosen one of these")
    raise MixtureError(
        f"a budget of {constraints.budget_tokens} tokens is too large: {conflict}. The largest feasible budget is "
        f"{_largest_budget(uncapped, supply_K)} tokens. Lower the budget, allow more epochs or loosen one of these"
    )


def _largest_budget(uncapped: _Limits, supply_K: Supply) -> int:
    """The largest whole budget that leaves a mixture allowed, given that without epochs there is one.

    A domain's maximum is min(upper, supply x rate) with rate = 1 / budget. What must be reached (by a domain its
    minimum, by a group its lower total, by all of them 1) grows with the rate, so each has a smallest rate: a `_level`.
    """
    rates = [own.lower / supply for own, supply in zip(uncapped.own_K, supply_K, strict=True) if supply is not None]
    whole: list[tuple[Fraction, Fraction, Fraction]] = []
    for part, members in uncapped.parts:
        slopes, highs = [supply_K[i] or Fraction(0) for i in members], [uncapped.own_K[i].upper for i in members]
        lows = [Fraction(0) if slope else high for slope, high in zip(slopes, highs, strict=True)]
        rates.append(_level(part.lower, slopes, lows, highs))
        full = _level(part.upper, slopes, lows, highs)
        ends = [(s, low, _clip(s * full, low, high)) for s, low, high in zip(slopes, lows, highs, strict=True)]
        whole += ends if sum(lows) < part.upper else [(Fraction(0), part.upper, part.upper)]  # full without the capped
    rates.append(_level(Fraction(1), *zip(*whole, strict=True)))
    return math.floor(1 / max(rates))


def _exact(value: float) -> Fraction:
    """The decimal that a number is written as: 1/10 for 0.1, not the nearest binary fraction."""
    return Fraction(int(value)) if isinstance(value, Integral) else Fraction(repr(float(value)))


def _clip(value: Fraction, low: Fraction, high: Fraction) -> Fraction:
    return min(max(value, low), high)


def _exceeds(larger: Fraction | int, smaller: Fraction | int, summands: int) -> bool:
    return larger - smaller > summands * ROUNDING


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")


def _check(what: str, value: object, *, share: bool) -> None:
    """`MixtureError` unless `value` is a number from 0 to 1 (`share`), or finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise MixtureError(f"{what} is {value!r}, not a number")
    if not (0 <= float(value) <= 1 if share else 0 < float(value) < math.inf):
        allowed = "between 0 and 1" if share else "finite and above 0"
        raise MixtureError(f"{what} is {value!r}; it must be {allowed}")
