"""What to use: the candidate with the smallest expected regret, why, and what that risks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from doremi.errors import RunError
from doremi.statistics import regret
from doremi.statistics.setting import Setting
from doremi.statistics.table import Target
from doremi.statistics.values import Choice, Claim, Recommended

OTHER: Mapping[Target, Target] = {"uniform": "natural", "natural": "uniform"}


def choices(setting: Setting, target: Target) -> tuple[Choice, ...]:
    """Every candidate that may be used, in their order; `RunError` where the limits leave none."""
    among = np.array([one.allowed for one in setting.entrants])
    names = [name for name, allowed in zip(setting.names, among, strict=True) if allowed]
    if not names:
        raise RunError("no candidate keeps the limits; add one under candidates.mixtures, or change limits")
    compared = setting.compared[target]
    if len(names) < 2 or not compared.known:
        return tuple(Choice(name, None, None) for name in names)
    expected = regret.expected_regret(compared, among)
    at_most = regret.largest_regret(compared, among, setting.terms.level) / compared.means[among]
    return tuple(Choice(n, float(e), float(m)) for n, e, m in zip(names, expected, at_most, strict=True))


def recommended(setting: Setting, claims: Sequence[Claim], by_target: Mapping[Target, Sequence[Choice]]) -> Recommended:
    """The smallest expected regret on the target, and in words what is proved."""
    target = setting.terms.target
    best, other = (_best(setting, one, by_target[one]) for one in (target, OTHER[target]))
    held = [one for one in claims if one.held]
    reasons = [_proved(setting, best.candidate, held), _regret(setting, target, best), *_others(best, held)]
    reasons += [_outside(one.name) for one in setting.entrants if not one.allowed]
    if dropped := setting.terms.dropped:
        reasons.append(f"Nothing is claimed of {_listed(dropped)}, dropped before by a race on other seeds.")
    reasons += [setting.terms.exploratory] if setting.terms.exploratory else []
    return Recommended(
        mixture=best.candidate,
        target=target,
        proved=any(one.candidate == best.candidate for one in held),
        reason=" ".join(filter(None, reasons)),
        other_mixture=other.candidate,
    )


def _best(setting: Setting, target: Target, choices: Sequence[Choice]) -> Choice:
    """Of equals the reference mixture, as it changes nothing, then who stands first."""
    means = dict(zip(setting.names, setting.compared[target].means, strict=True))
    reference = setting.names[setting.reference]
    return min(choices, key=lambda one: (means[one.candidate], one.candidate != reference))


def _proved(setting: Setting, best: str, held: Sequence[Claim]) -> str:
    every = "every plain finalist" if setting.terms.dropped else "every plain mixture"
    reference, own = setting.names[setting.reference], [one for one in held if one.candidate == best]
    if not own:
        return "" if held or not setting.found() else f"No found mixture is proved better than {reference}."
    if len(own) > 1:
        over = f"{reference} and than {every}" if len(own[1].over) > 1 else f"{reference}, the only plain one"
        return f"{best} is proved better than {over}."
    return f"{best} is proved better than {reference}. It is not proved better than {every}."


def _regret(setting: Setting, target: Target, best: Choice) -> str:
    if best.expected is None or best.at_most is None:
        return _without_noise(setting, target, best.candidate)
    sure, few = (
        f"{100 * (1 - setting.terms.level):.4g} %",
        f"It has the smallest expected regret, {_small(best.expected)}.",
    )
    if setting.terms.exploratory:  # the limits do not hold after looks that nobody planned
        return few.replace("It", best.candidate, 1)
    if best.at_most == 0:  # every other candidate is surely worse
        return f"{best.candidate} is the best of {_among(setting)} ({sure}). {few}"
    few = few.replace("It", best.candidate, 1)
    return f"{few} It is at most {_small(best.at_most)} worse than the best of {_among(setting)} ({sure})."


def _without_noise(setting: Setting, target: Target, best: str) -> str:
    """What is known of a choice where no regret can be told."""
    if sum(one.allowed for one in setting.entrants) < 2:
        return f"{best} is the only candidate that may be used."
    why = "One seed shows no noise." if setting.compared[target].seeds < 2 else "The seeds are alike and show no noise."
    within = "" if all(one.allowed for one in setting.entrants) else " of those within the limits"
    return f"{why} {best} has the fewest bits per byte{within}."


def _among(setting: Setting) -> str:
    within = "" if all(one.allowed for one in setting.entrants) else " within the limits"
    return f"the {'finalists' if setting.terms.dropped else 'candidates'}{within}"


def _small(share: float) -> str:
    """A share in per cent; what has no digit is told as a bound."""
    return "less than 0.01%" if share < 0.00005 else f"{share:.2%}"


def _outside(name: str) -> str:
    return f"{name} breaks the limits, so the others are only measured against it."


def _others(best: Choice, held: Sequence[Claim]) -> list[str]:
    """What is proved of others than the one that is recommended."""
    proved = dict.fromkeys((one.candidate, one.over[0]) for one in held if one.candidate != best.candidate)
    return [f"{name} is proved better than {over}." for name, over in proved]


def _listed(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last
