"""Each candidate against the reference mixture domain by domain, and one sentence about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from doremi.statistics.by_domain import by_domain
from doremi.statistics.intervals import ends
from doremi.statistics.parts import Parts
from doremi.statistics.setting import Setting
from doremi.statistics.values import CandidateDomains, Comparison, DomainDifference, Outcome

_NAMED = 3  # so many domains are named on each side


def domains(setting: Setting, comparisons: Sequence[Comparison]) -> tuple[CandidateDomains, ...]:
    """All candidates but the reference mixture. `comparisons` tell whether the mean gains."""
    return tuple(_candidate(setting, i, comparisons) for i in range(len(setting.names)) if i != setting.reference)


def _candidate(setting: Setting, place: int, comparisons: Sequence[Comparison]) -> CandidateDomains:
    target, reference = setting.terms.target, setting.reference
    compared = setting.compared[target]
    found = by_domain(setting.bits, setting.documents, compared, place, reference)
    profile, level = (_halves(parts, setting) for parts in (found.profile_parts, found.level_parts))
    strict = _halves(found.profile_parts, setting, len(profile))
    mine, other = (setting.entrants[i].weights for i in (place, reference))
    rows = tuple(
        DomainDifference(
            domain=one.name,
            weight_ratio=mine[k] / other[k] if other[k] else None,
            profile=float(found.profile[k]),
            profile_interval=ends(float(found.profile[k]), _known(profile[k]), math.inf),
            level=float(found.level[k]),
            level_interval=ends(float(found.level[k]), _known(level[k]), 1.0),
        )
        for k, one in enumerate(setting.fixed.domains)
    )
    name, against = setting.names[place], setting.names[reference]
    result: Outcome = "undecided"
    for one in comparisons:
        if (one.candidate, one.opponent, one.target) == (name, against, target):
            result = one.outcome
    sure = [row for row, half in zip(rows, strict, strict=True) if abs(row.profile) > half]
    words = _words(name, against, sure, result, len(rows))
    if setting.terms.exploratory:  # ranges do not hold after a look that nobody planned
        words = words.replace("surely moves", "seems to move").replace("surely does", "seems to do")
    return CandidateDomains(name, rows, words)


def _known(half: float) -> float:
    """Half of a relative interval; NaN where the noise is as large as the loss itself, and nothing is known."""
    return half if half < 1 else math.nan


def _halves(parts: Parts, setting: Setting, at_once: int = 1) -> list[float]:
    """Halves of intervals of which `at_once` hold together (Bonferroni)."""
    return parts.half(setting.terms.level / at_once).tolist()


def _words(name: str, against: str, sure: Sequence[DomainDifference], result: Outcome, count: int) -> str:
    """What surely moved from where to where, and whether the sum gains.

    `count`: of all domains. `sure` are domains of which all together hold with the stated confidence. Of thirty domains
    in which nothing differs, one or two lie outside of their own interval.
    """
    falls = sorted((row for row in sure if row.profile < 0), key=lambda row: row.profile)
    rises = sorted((row for row in sure if row.profile > 0), key=lambda row: -row.profile)
    total = {
        "win": "The mean over domains gains.",
        "loss": "The mean over domains loses.",
        "tie": "The mean over domains stays within the margin.",
        "undecided": "Whether the mean over domains gains is open.",
    }[result]
    if count == 1:
        return f"There is one domain, so {name} moves no loss from one to another. {total}"
    if falls and rises:
        return f"Against {against}, {name} surely moves loss from {_listed(falls)} to {_listed(rises)}. {total}"
    if falls or rises:
        what = f"better in {_listed(falls)}" if falls else f"worse in {_listed(rises)}"
        return f"Against {against}, {name} surely does {what} than on average. {total}"
    return f"Against {against}, no domain surely differs from the average change of {name}. {total}"


def _listed(rows: Sequence[DomainDifference]) -> str:
    names = [row.domain for row in rows[:_NAMED]]
    more = [f"{len(rows) - _NAMED} more"] if len(rows) > _NAMED else []
    *first, last = [*names, *more]
    return f"{', '.join(first)} and {last}" if first else last
