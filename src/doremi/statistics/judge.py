"""The verdict over a table of measurements: claims, intervals, regret, domains, and what to use."""

from __future__ import annotations

from collections.abc import Sequence

from doremi.statistics import choice, claims, intervals, moving
from doremi.statistics.enough import share
from doremi.statistics.longer import trend
from doremi.statistics.needed import Needed, needed
from doremi.statistics.setting import Setting, Terms
from doremi.statistics.table import TARGETS, Measurements, Target
from doremi.statistics.values import Choice, Claim, Comparison, Judged

USUAL = 0.01  # the relative difference that the noise is told by


def judge(table: Measurements, terms: Terms) -> Judged:
    """Judge the candidates of `table`. Reads nothing else: the same table gives the same value.

    `RunError`: the reference mixture is not among the candidates, or no candidate may be used.
    """
    setting = Setting.of(table, terms)
    claimed = claims.claims(setting)
    compared = tuple(one for target in TARGETS for one in intervals.comparisons(setting, target, claimed))
    choices: dict[Target, tuple[Choice, ...]] = {t: choice.choices(setting, t) for t in TARGETS}
    return Judged(
        target=terms.target,
        baseline=setting.names[setting.reference],
        level=terms.level,
        margin=terms.margin,
        seeds=table.seeds,
        same=setting.same(),
        claims=claimed,
        comparisons=compared,
        choices=choices,
        domains=moving.domains(setting, compared),
        without_lent=intervals.without_lent(setting),
        noise=_noise(setting),
        settle=_settle(setting, claimed, compared),
        document_share=_document_share(setting),
        recommended=choice.recommended(setting, claimed, choices),
        exploratory=terms.exploratory,
    )


def noise(table: Measurements, terms: Terms, candidates: int) -> Needed | None:
    """What the noise means, before all is trained; `candidates` are to be compared in the end.

    Only variances are used. None with one seed, and with nobody beside the reference mixture.
    """
    return _noise(Setting.of(table, terms), candidates)


def _example(setting: Setting) -> int | None:
    """The candidate whose difference to the reference mixture tells the noise: the first found one, or any other."""
    others = [*setting.found(), *(i for i in setting.plain() if i != setting.reference)]
    return others[0] if others else None


def _noise(setting: Setting, candidates: int | None = None) -> Needed | None:
    """Seeds for one per cent."""
    one = _example(setting)
    return None if one is None else _seeds(setting, one, setting.reference, USUAL, candidates, longer=True)


def _document_share(setting: Setting) -> float | None:
    one = _example(setting)
    if one is None:
        return None
    parts = setting.compared[setting.terms.target].pair(one, setting.reference)[1]
    return share(float(parts.seeds), float(parts.documents))


def _settle(setting: Setting, claimed: Sequence[Claim], compared: Sequence[Comparison]) -> Needed | None:
    """What would prove the first claim that failed, if the truth is what was seen, or the margin where that is more.

    None where it is known to be smaller than the margin, which nobody needs to prove.
    """
    failed = next((one for one in claimed if one.tested and not one.held), None)
    if failed is None or failed.relative >= 0:
        return None
    place = setting.names.index(failed.candidate)
    means = setting.compared[setting.terms.target].means
    strongest = min((setting.names.index(name) for name in failed.over), key=lambda i: means[i])
    pair = (failed.candidate, setting.names[strongest], setting.terms.target)
    if any(one.small for one in compared if (one.candidate, one.opponent, one.target) == pair):
        return None
    return _seeds(setting, place, strongest, max(-failed.relative, setting.terms.margin))


def _seeds(
    setting: Setting, one: int, other: int, effect: float, candidates: int | None = None, *, longer: bool = False
) -> Needed | None:
    target = setting.terms.target
    compared = setting.compared[target]
    parts = compared.pair(one, other)[1]
    return needed(
        parts, compared.seeds, setting.terms.level, effect,
        bits=setting.relative(target, other), candidates=candidates or len(setting.names),
        trend=trend(setting.fixed, target) if longer else None,
    )  # fmt: skip
