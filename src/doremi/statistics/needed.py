"""What it would take to prove a difference: seeds, as a median and a limit, or more validation documents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from doremi.events.words import duration
from doremi.statistics import student
from doremi.statistics.longer import Trend
from doremi.statistics.parts import Parts
from doremi.statistics.seed_noise import freedom

POWER = 0.8  # chance with which the promised number of seeds proves the difference
SURE = 0.8  # confidence of the limit
MOST = 1000


@dataclass(frozen=True)
class Longer:
    """Seeds of trainings of twice the length, as in `Needed`.

    `ratio`: the variance at the end as a part of that half way, two digits.
    """

    seeds: int | None
    at_most: int | None
    ratio: float


@dataclass(frozen=True)
class Needed:
    """Seeds that prove a true relative difference of `effect` with a chance of 80 %.

    `seeds`: as likely too many as too few. `at_most`: enough with 80 % confidence, as few seeds show noise badly. None:
    not even 1000 would do. `documents`: where documents are the limit, so many times as many are needed. `longer`: None
    where too little is known.
    """

    effect: float
    seeds: int | None
    at_most: int | None
    documents: float | None
    longer: Longer | None = None

    def words(self, have: int = 0, one_seed: float | None = None) -> str:
        """A sentence or two for people: `have` seeds are trained, and `one_seed` is the seconds of one more."""
        if self.documents is not None:
            more = f"about {_round(self.documents)} times as many validation documents"
            return f"Seeds alone do not prove {_percent(self.effect)}. That takes {more}."
        if self.seeds is None:
            return f"With these steps more than {MOST} seeds are needed to prove {_percent(self.effect)}."
        prove = f"With these steps, to prove {_percent(self.effect)}"
        takes = f"{prove} takes about {self.seeds} seeds ({_limit(self.at_most)})"
        if have >= self.seeds:
            return f"{takes}. There are {have}."
        return f"{takes}." if one_seed is None else f"{takes}, {duration((self.seeds - have) * one_seed)} more."

    def longer_words(self) -> str:
        """What trainings of twice the length would take."""
        if self.longer is None:
            return "What longer training would take is not known: too few trainings show it."
        if self.longer.ratio >= 1:
            return "Longer training may not take fewer, for the noise has not fallen since half way."
        number = f"more than {MOST}" if self.longer.seeds is None else f"about {self.longer.seeds}"
        takes = f"Training twice as long would take {number} ({_limit(self.longer.at_most)})"
        return f"{takes}, if the noise falls again as it has since half way."


def _limit(at_most: int | None) -> str:
    return f"80 %: at most {at_most}" if at_most else f"80 %: perhaps more than {MOST}"


def needed(
    parts: Parts, seeds: int, level: float, effect: float, *,
    bits: float, candidates: int, trend: Trend | None = None,
) -> Needed | None:  # fmt: skip
    """For one pair: `parts` are its scalars with `seeds` seeds, `effect` is relative to `bits`, `level` one-sided.

    None: with one seed nothing is known of the noise.
    """
    if not np.isfinite(parts.seeds):
        return None
    freedoms = _freedoms(candidates)
    one_seed, known = float(parts.seeds) * seeds, float(parts.seed_freedom)
    documents = float(np.nan_to_num(parts.documents))
    t_documents = float(student.quantile(2 * level, _finite(float(parts.document_freedom))))
    chi2 = 2 * special.gammaincinv(known / 2, np.array([0.5, 1 - SURE]))
    variances = one_seed * known / chi2
    if trend is not None:
        first = variances[0] * trend.ratio
        variances = np.append(variances, [first, first * np.exp(special.ndtri(SURE) * trend.spread(known))])
    t_seeds_N = student.quantile(2 * level, freedoms)
    found = [_first(variance, documents, t_documents, t_seeds_N, effect * bits) for variance in variances]
    z = special.ndtri(1 - level) + special.ndtri(POWER)
    times = documents * (z / (effect * bits)) ** 2 if effect else math.inf
    limited = found[0] is None and times > 1
    longer = Longer(found[2], found[3], float(f"{trend.ratio:.2g}")) if trend else None
    return Needed(effect, found[0], found[1], times if limited else None, longer)


def _first(one_seed: float, documents: float, t_documents: float, t_seeds_N: np.ndarray, effect: float) -> int | None:
    """The first number of seeds, from 2 on, whose interval is narrow enough."""
    seeds_N = np.arange(2, MOST + 1)
    half_N = np.sqrt(t_seeds_N**2 * one_seed / seeds_N + t_documents**2 * documents)
    error_N = np.sqrt(one_seed / seeds_N + documents)
    enough = np.flatnonzero(half_N + special.ndtri(POWER) * error_N <= effect)
    return int(seeds_N[enough[0]]) if len(enough) else None


def _freedoms(candidates: int) -> np.ndarray:
    return np.array([freedom(candidates, seeds) for seeds in range(2, MOST + 1)])


def _finite(degrees: float) -> float:
    return degrees if math.isfinite(degrees) else 1.0


def _percent(effect: float) -> str:
    return f"{100 * effect:.2g} %"


def _round(times: float) -> str:
    return f"{times:.0f}" if times >= 2 else f"{times:.1f}"
