"""Differences between candidates as a table shows them, with intervals that hold at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from doremi.statistics.compared import Compared, compare
from doremi.statistics.dunnett import multiplier
from doremi.statistics.parts import Parts
from doremi.statistics.setting import Setting, Terms
from doremi.statistics.table import TARGETS, Measurements, Target, originals
from doremi.statistics.values import Claim, Comparison, Ends, Family, Outcome, WithoutLent


def comparisons(setting: Setting, target: Target, claims: Sequence[Claim]) -> tuple[Comparison, ...]:
    """Found mixtures against all others, plain ones against the reference mixture, and methods for description."""
    compared = setting.compared[target]
    c = _multiplier(compared, setting.terms.level)
    rows = [_row(setting, target, pair, claims, c) for pair in _pairs(setting)]
    return (*rows, *(_of_method(setting, target, place) for place in _methods(setting)))


def half_of(parts: Parts, c: float | None) -> float:
    """Half width at a multiplier; NaN where nothing is known."""
    return float(parts.half_at(c)) if c is not None else float("nan")


def ends(difference: float, half: float, level: float, scale: float = 1.0) -> Ends | None:
    """Both ends in units of `scale`; None where the half width is not known.

    `level` is what the difference is to, in the units of the difference. No loss is below 0, so that no end is below
    -level: what is known for sure may be cut off an interval.
    """
    return None if half != half else (max(difference - half, -level) / scale, (difference + half) / scale)


def without_lent(setting: Setting) -> tuple[WithoutLent, ...]:
    """Found mixtures against the reference mixture on the seeds whose training served no search."""
    lent = setting.entrants[setting.reference].lent
    left = [seed for seed in setting.fixed.seeds if seed not in lent]
    if len(left) == len(setting.fixed.seeds):
        return ()
    if not left:
        return tuple(WithoutLent(setting.names[place], (), None, None) for place in setting.found())
    table, target = setting.fixed.only(range(len(setting.entrants)), left), setting.terms.target
    hubs = np.array([one.role == "found" for one in table.entrants])
    compared = compare(table.bits(), table.documents(), table.weights_of(target), hubs)
    c, made = _multiplier(compared, setting.terms.level), []
    for place in setting.found():
        difference, parts = compared.pair(place, setting.reference)
        level = float(compared.means[setting.reference])
        interval = ends(float(difference), half_of(parts, c), level, level)
        made.append(WithoutLent(setting.names[place], tuple(left), float(difference) / level, interval))
    return tuple(made)


def between(
    table: Measurements, pairs: Sequence[tuple[int, int]], terms: Terms, family: Family
) -> tuple[Comparison, ...]:
    """Pairs of `table` on both targets, all alike: nothing is claimed, and no reference mixture is needed.

    Names that share all trainings are one candidate, as two would halve the noise that is seen.
    """
    first = originals(table)
    keep = sorted(set(first))
    fixed = table.only(keep, table.seeds)
    bits, documents, hubs = fixed.bits(), fixed.documents(), np.array([e.role == "found" for e in fixed.entrants])
    made = []
    for target in TARGETS:
        compared = compare(bits, documents, fixed.weights_of(target), hubs)
        c = _multiplier(compared, terms.level)
        for one, other in pairs:
            difference, parts = compared.pair(keep.index(first[one]), keep.index(first[other]))
            level = float(compared.means[keep.index(first[other])])
            pair = _Pair(table.names[one], table.names[other], target, float(difference), parts, level, c)
            made.append(_comparison(terms, pair, family))
    return tuple(made)


def _multiplier(compared: Compared, error: float) -> float | None:
    """None where no noise is known."""
    count = compared.means.shape[-1]
    return multiplier(count - 1, float(compared.parts.seed_freedom), error) if compared.known else None


def _pairs(setting: Setting) -> Iterator[tuple[int, int, Family]]:
    """Candidate, opponent, family."""
    found, reference = setting.found(), setting.reference
    others = [j for j in setting.plain() if j != reference]
    for i in found:
        yield i, reference, "primary"
        for j in others:
            yield i, j, "primary"
    for later, earlier in ((b, a) for a, b in combinations(found, 2)):
        yield later, earlier, "method"
    for i in others:
        yield i, reference, "plain"


def _row(
    setting: Setting, target: Target, pair: tuple[int, int, Family], claims: Sequence[Claim], c: float | None
) -> Comparison:
    one, other, family = pair
    difference, parts = setting.compared[target].pair(one, other)
    name, against = setting.names[one], setting.names[other]
    primary = target == setting.terms.target
    made = _comparison(
        setting.terms, _Pair(name, against, target, float(difference), parts, setting.relative(target, other), c),
        family if primary else "average",
    )  # fmt: skip
    proved = primary and any(x.held and x.candidate == name and against in x.over for x in claims)
    return replace(made, outcome="win") if proved else made


@dataclass(frozen=True, eq=False)
class _Pair:
    """`level`: the opponent's bits per byte; `c`: the multiplier, None where no noise is known."""

    candidate: str
    opponent: str
    target: Target
    difference: float
    parts: Parts
    level: float
    c: float | None


def _comparison(terms: Terms, pair: _Pair, family: Family) -> Comparison:
    half = half_of(pair.parts, pair.c)
    small = abs(pair.difference) + half <= terms.margin * pair.level
    return Comparison(
        candidate=pair.candidate,
        opponent=pair.opponent,
        family=family,
        target=pair.target,
        difference=pair.difference,
        relative=pair.difference / (pair.level or 1.0),  # where nothing is lost, nothing differs either
        interval=ends(pair.difference, half, pair.level),
        fixed=ends(pair.difference, half_of(pair.parts.fixed(), pair.c), pair.level),
        outcome=_outcome(pair.difference, half, small=small) if terms.exploratory is None else "undecided",
        small=small,
    )


def _outcome(difference: float, half: float, *, small: bool) -> Outcome:
    """The sign comes first, however small: a gain that is known is no tie."""
    if abs(difference) > half:
        return "win" if difference < 0 else "loss"
    return "tie" if small else "undecided"


def _methods(setting: Setting) -> list[int]:
    """Places among everyone of candidates with a mixture for each seed."""
    return [i for i, one in enumerate(setting.whole.entrants) if one.role == "per-seed"]


def _of_method(setting: Setting, target: Target, place: int) -> Comparison:
    """A method against the reference mixture: its seeds differ by their mixtures too, so its noise is its own."""
    whole = setting.whole
    table = whole.only([place, whole.reference()], whole.seeds)
    compared = compare(table.bits(), table.documents(), table.weights_of(target), np.array([True, False]))
    difference, parts = compared.pair(0, 1)
    c, (name, against) = _multiplier(compared, setting.terms.level), table.names
    pair = _Pair(name, against, target, float(difference), parts, float(compared.means[1]), c)
    return _comparison(setting.terms, pair, "method")
