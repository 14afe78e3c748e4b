"""What is claimed of each found mixture, and whether it held."""

from __future__ import annotations

from collections.abc import Sequence

from doremi.statistics.sequences import Steps, Tested, hold_sequences
from doremi.statistics.setting import Setting
from doremi.statistics.values import Claim


def claims(setting: Setting) -> tuple[Claim, ...]:
    """Two for each found mixture: better than the reference mixture, then better than every plain one."""
    terms, found = setting.terms, setting.found()
    steps = [
        Steps(
            setting.entrants[i].method, _p(setting, i, [setting.reference]), _p(setting, i, setting.plain())
        )
        for i in found
    ]  # fmt: skip
    results = (
        hold_sequences(steps, terms.level) if terms.exploratory is None else [Tested(0.0, False, False)] * len(found)
    )
    made = []
    for place, step, tested in zip(found, steps, results, strict=True):
        made.append(_claim(setting, place, [setting.reference], step.first, tested, (tested.level > 0, tested.first)))
        made.append(_claim(setting, place, setting.plain(), step.second, tested, (tested.first, tested.second)))
    return tuple(made)


def _p(setting: Setting, place: int, opponents: Sequence[int]) -> float:
    """The largest p-value of "better than this one": all must hold."""
    compared = setting.compared[setting.terms.target]
    pairs = [compared.pair(place, opponent) for opponent in opponents]
    return max(float(parts.p_below(difference)) for difference, parts in pairs)


def _claim(
    setting: Setting, place: int, opponents: Sequence[int], p: float, tested: Tested, result: tuple[bool, bool]
) -> Claim:
    target, me = setting.terms.target, setting.entrants[place]
    compared = setting.compared[target]
    relative, bounds = [], []
    for opponent in opponents:
        difference, parts = compared.pair(place, opponent)
        level = setting.relative(target, opponent)
        relative.append(float(difference) / level)
        bounds.append(-float(difference + parts.half(2 * tested.level)) / level if result[0] else None)
    known = [bound for bound in bounds if bound is not None and bound == bound]
    return Claim(
        candidate=me.name,
        method=me.method,
        over=tuple(setting.names[opponent] for opponent in opponents),
        level=tested.level,
        tested=result[0],
        held=result[1],
        p_value=p,
        relative=max(relative),
        at_least=min(known) if known else None,
    )
