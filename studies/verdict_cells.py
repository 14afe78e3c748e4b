"""What is counted in made-up tournaments: false claims, power, intervals that hold, and what regrets were.

Candidate 0 is the found mixture, candidate 1 the reference mixture. Figures are shares of `count` tournaments.

Shapes: M tournaments, C candidates, K domains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from doremi.statistics import regret
from doremi.statistics.by_domain import by_domain
from doremi.statistics.compared import Compared, compare
from doremi.statistics.dunnett import multiplier
from doremi.statistics.looks import PLAN, PLANNED_SHARE
from doremi.statistics.parts import Parts
from doremi.statistics.race import OTHERS_LEFT
from doremi.statistics.seed_noise import pair_variances
from doremi.statistics.setting import Terms
from verdict_worlds import DOMAINS, UNIFORM_K, Drawn, World, chunks, draw, draw_full

LEVEL = 0.05
Rule = Callable[[Drawn], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Cell:
    world: World
    effect: np.ndarray
    seeds: int
    count: int = 20_000

    @property
    def mean(self) -> np.ndarray:
        """True relative means `[C]`; levels of domains differ, so that they are not the plain average."""
        level_K = np.linspace(2.4, 3.7, DOMAINS)
        return (self.effect * level_K).sum(axis=1) / level_K.sum()


def judged(drawn: Drawn) -> Compared:
    hubs = np.arange(drawn.bits.shape[1]) == 0
    return compare(drawn.bits, drawn.documents, UNIFORM_K, hubs)


def of_found(compared: Compared) -> tuple[np.ndarray, Parts]:
    """The found mixture against all others, `[M, C - 1]`."""
    parts = compared.parts
    degrees = np.asarray(parts.document_freedom)[:, 0, 1:]
    row = Parts(parts.seeds[:, 0, 1:], parts.seed_freedom, parts.documents[:, 0, 1:], degrees)
    return compared.difference[:, 0, 1:], row


def claims(drawn: Drawn, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Which of both claims hold, `[M]` each. An interval at twice the level ends at 0 where p is the level."""
    difference, parts = of_found(judged(drawn))
    better = -difference > parts.half(2 * level)
    return better[:, 0], np.asarray(better.all(axis=1))


def normal_quantiles(drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
    """A mutant: as if variances were known."""
    difference, parts = of_found(judged(drawn))
    better = -difference > special.ndtri(1 - LEVEL) * np.sqrt(parts.variance())
    return better[:, 0], np.asarray(better.all(axis=1))


def pooled(drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
    """A mutant: one variance for all pairs, without the guard for a noisy hub."""
    compared = judged(drawn)
    difference, parts = of_found(compared)
    noise = compared.noise
    alike = np.broadcast_to((2 * noise.residual / compared.seeds)[:, None], difference.shape)
    half = Parts(alike, noise.pooled_freedom, parts.documents, parts.document_freedom).half(2 * LEVEL)
    better = -difference > half
    return better[:, 0], np.asarray(better.all(axis=1))


def best_of_plain(drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
    """A mutant: the best plain mixture, chosen by the data, against the reference as if it had been named before."""
    compared, rows = judged(drawn), np.arange(len(drawn.bits))
    best = 2 + compared.means[:, 2:].argmin(axis=1)
    documents, degrees = compared.parts.documents, np.asarray(compared.parts.document_freedom)
    own = pair_variances(drawn.bits @ UNIFORM_K)[rows, best, 1] / compared.seeds
    parts = Parts(own, compared.seeds - 1, documents[rows, best, 1], degrees[rows, best, 1])
    claimed = -compared.difference[rows, best, 1] > parts.half(LEVEL)
    return claimed, claimed


def rates(random: np.random.Generator, cell: Cell, rule: Rule = claims) -> tuple[float, float]:
    """How often the first claim holds, and both."""
    total = np.zeros(2)
    for count in chunks(cell.count):
        total += [held.sum() for held in rule(draw(random, cell.world, cell.effect, cell.seeds, count))]
    first, every = total / cell.count
    return float(first), float(every)


@dataclass(frozen=True)
class Coverage:
    """Shares of tournaments in which what is printed is true.

    `found`: all Dunnett intervals of the found mixture at once; `baseline`: all against the reference mixture at once.
    `least`: the one-sided bound of the first claim. `most`: all "at most so much worse than the best" at once.
    `profile` and `level`: intervals of single domains. `wrong`: signs that are wrong, of those that are resolved.
    `width`: median half of the found mixture's intervals, relative.
    """

    found: float
    baseline: float
    least: float
    most: float
    profile: float
    level: float
    wrong: float
    width: float


def coverage(random: np.random.Generator, cell: Cell, error: float = LEVEL) -> Coverage:
    kept, widths = [], []
    for count in chunks(cell.count):
        row, half = _covered(draw(random, cell.world, cell.effect, cell.seeds, count), cell, error)
        kept.append([part * count for part in row])
        widths.append(half)
    found, baseline, least, most, profile, level, wrong = np.sum(kept, axis=0) / cell.count
    return Coverage(found, baseline, least, most, profile, level, wrong, float(np.median(np.concatenate(widths))))


def _covered(drawn: Drawn, cell: Cell, error: float) -> tuple[list[float], np.ndarray]:
    compared, true_C = judged(drawn), cell.mean * np.linspace(2.4, 3.7, DOMAINS).mean()
    true_CC = true_C[:, None] - true_C[None, :]
    c = multiplier(len(true_C) - 1, float(compared.parts.seed_freedom), error)
    half = compared.parts.half_at(c)
    inside = np.abs(compared.difference - true_CC) <= half
    bound = (compared.difference + compared.parts.half(2 * error))[:, 0, 1] >= true_CC[0, 1]
    among = np.ones(len(true_C), dtype=bool)
    most = regret.largest_regret(compared, among, error) >= true_C - true_C.min()
    profile, level, wrong = _domains(drawn, compared, cell, error)
    shares = [inside[:, 0].all(axis=1).mean(), inside[:, :, 1].all(axis=1).mean(), bound.mean()]
    shares += [most.all(axis=1).mean(), profile, level, wrong]
    return [float(share) for share in shares], (half[:, 0, 1:] / compared.means[:, None, 1]).ravel()


def _domains(drawn: Drawn, compared: Compared, cell: Cell, error: float) -> tuple[float, float, float]:
    """Cover of profile and level, and wrong signs among resolved profiles."""
    found = by_domain(drawn.bits, drawn.documents, compared, 0, 1)
    true_K = cell.effect[0] - cell.effect[1]
    level = (np.abs(found.level - true_K) <= found.level_parts.half(error)).mean()
    true_profile_K, half = true_K - true_K.mean(), found.profile_parts.half(error)
    profile = (np.abs(found.profile - true_profile_K) <= half).mean()
    resolved = np.abs(found.profile) > half
    wrong = resolved & (np.sign(found.profile) != np.sign(true_profile_K)) & (true_profile_K != 0)
    return float(profile), float(level), float(wrong.sum() / max(1, resolved.sum()))


def regrets(random: np.random.Generator, world: World, candidates: int, seeds: int, count: int, spread: float):
    """Said and true regret of the recommended candidate, in means; true means differ by `spread`."""
    said, was = 0.0, 0.0
    for size in chunks(count, 200):
        mean_MC = spread * random.standard_normal((size, candidates))
        drawn = draw(random, world, np.zeros((candidates, DOMAINS)), seeds, size)
        shifted = drawn.bits * (1 + mean_MC)[:, :, None, None]
        compared = judged(Drawn(shifted, drawn.documents))
        expected = regret.expected_regret(compared, np.ones(candidates, dtype=bool))
        chosen = expected.argmin(axis=1)
        said += expected.min(axis=1).sum()
        was += (mean_MC[np.arange(size), chosen] - mean_MC.min(axis=1)).sum()
    return said / count, was / count


def decided(compared: Compared, held: tuple[np.ndarray, np.ndarray], level: float) -> np.ndarray:
    """Whether no claim is open `[M]`: the rule of `doremi.statistics.decided`, for many tournaments at once."""
    half = compared.parts.half_at(multiplier(compared.means.shape[1] - 1, float(compared.parts.seed_freedom), level))
    difference, half = compared.difference[:, 0, 1:], half[:, 0, 1:]
    small = np.abs(difference) + half <= Terms.margin * compared.means[:, 1:]
    closed = (difference - half > 0) | small
    return np.where(held[0], held[1] | closed.any(axis=1), closed[:, 0])


@dataclass(frozen=True)
class Looked:
    """A plan of looks: claims at any of them, seeds used on average, and intervals that hold where it stopped."""

    first: float
    every: float
    seeds: float
    covered: float


def looked(random: np.random.Generator, cell: Cell, share: float = PLANNED_SHARE) -> Looked:
    """Seeds are added by the plan until no claim is open, as `doremi run --until decided` does it."""
    total, level = np.zeros(4), share * LEVEL
    true_C = cell.mean * np.linspace(2.4, 3.7, DOMAINS).mean()
    for count in chunks(cell.count, 250):
        full = draw_full(random, cell.world, cell.effect, PLAN[-1], count)
        held, inside, over = [], [], []
        for seeds in PLAN:
            drawn = full.look(slice(seeds))
            held.append(claims(drawn, level))
            compared = judged(drawn)
            over.append(decided(compared, held[-1], level))
            half = compared.parts.half_at(multiplier(len(true_C) - 1, float(compared.parts.seed_freedom), level))
            missed = np.abs(compared.difference - (true_C[:, None] - true_C[None, :])) > half
            inside.append(~missed[:, 0].any(axis=1))
        first, every, inside = (np.array(x) for x in ([h[0] for h in held], [h[1] for h in held], inside))
        stop = np.where(np.any(over, axis=0), np.argmax(over, axis=0), len(PLAN) - 1)
        used = np.array(PLAN)[stop]
        total += [first.any(0).sum(), every.any(0).sum(), used.sum(), inside[stop, np.arange(count)].sum()]
    return Looked(*(total / cell.count))


def raced(random: np.random.Generator, world: World, effect_CK: np.ndarray, seeds: int, count: int):
    """Claims after a race among all candidates and `seeds` fresh ones: first, every, and how often 0 was a finalist."""
    total, candidates = np.zeros(3), len(effect_CK)
    for size in chunks(count, 250):
        heats = _heats(candidates)
        full = draw_full(random, world, effect_CK, heats + seeds, size)
        left = _finalists(full.bits[:, :, :heats] @ UNIFORM_K)
        inside = (left == 0).any(axis=1)
        first, every = claims(full.look(slice(heats, None), left))
        total += [(first & inside).sum(), (every & inside).sum(), inside.sum()]
    return tuple(total / count)


def _heats(candidates: int) -> int:
    others, heats = candidates - 1, 0
    while others > OTHERS_LEFT:
        others, heats = max(OTHERS_LEFT, (others + 1) // 2), heats + 1
    return heats


def _finalists(bits_MCS: np.ndarray) -> np.ndarray:
    """Places of the finalists `[M, 3]`: the found mixture first where it is one, then the reference, then the rest.

    The same rule as `race.finalists`, for many races at once (tests/test_statistics_level.py compares them).
    """
    count, candidates = bits_MCS.shape[:2]
    others = candidates - 1
    alive = np.ones((count, candidates), dtype=bool)
    alive[:, 1] = False
    for heat in range(bits_MCS.shape[2]):
        others = max(OTHERS_LEFT, (others + 1) // 2)
        means = np.where(alive, bits_MCS[:, :, : heat + 1].mean(axis=2), np.inf)
        alive &= means.argsort(axis=1).argsort(axis=1) < others
    rest = np.sort(np.where(alive, np.arange(candidates), candidates), axis=1)[:, :OTHERS_LEFT]
    return np.concatenate([rest[:, :1], np.ones((count, 1), int), rest[:, 1:]], axis=1)
