"""What the proxies did, step by step: the path of the weights, and the excess losses that drove them.

`D` is the number of domains shown, `T` of steps, `P` of points drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from doremi.report import plots
from doremi.report.facts import Facts, Search
from doremi.report.figures import Figure, Panel, chosen, percent_tick, short_tick
from doremi.report.tables import Cell, Table, repeats, shown
from doremi.report.trainings import Training, paths
from doremi.report.words import count, fixed, listed, percent, plural

WEIGHTS, SCORES = "How the weights moved", "Where the proxy lags behind the reference"
_POINTS = 14_000  # of all lines of a figure together: the page stays small for any number of steps and domains


@dataclass(frozen=True)
class Walk:
    """A proxy's path over the domains shown: `step` `[T]`, `weights`, `average`, `scores` `[T, D]`."""

    seed: int
    step: np.ndarray
    weights: np.ndarray
    average: np.ndarray
    scores: np.ndarray


def walk_figures(facts: Facts) -> list[Figure]:
    """The weights' path and the excess losses of each search, drawn or with the reason why not; then earlier rounds.

    A search that has no proxies has no pictures.
    """
    if not facts.searches:
        why = "There are no proxies here, since no search is planned."
        return [Figure(key, title, why) for key, title in (("weights", WEIGHTS), ("scores", SCORES))]
    planned = {node.method for node in facts.nodes.find("proxy")} if facts.nodes else set()
    with_proxies = [search for search in facts.searches if search.method in planned]
    return [figure for n, search in enumerate(with_proxies) for figure in _figures(facts, search, n)]


def _figures(facts: Facts, search: Search, n: int) -> list[Figure]:
    order, last = shown(facts), search.last_round
    walks = {
        number: [walk for t in search.of("proxy", number) if (walk := _walk(t, facts, order)) is not None]
        for number in {t.round for t in search.trainings if t.role == "proxy"} | {last}
    }
    drawn = Drawn(facts, search, order, f"-{n}" if n else "", f" for {search.name}" if len(facts.searches) > 1 else "")
    earlier = [weights_figure(drawn, walks[number], number) for number in sorted(walks) if number < last]
    return [weights_figure(drawn, walks[last], last), scores_figure(drawn, walks[last]), *earlier]


@dataclass(frozen=True)
class Drawn:
    """What is drawn: a search, its domains, and what tells its figures from those of others, in keys and in titles."""

    facts: Facts
    search: Search
    order: list[int]
    key: str
    title: str


def _walk(training: Training, facts: Facts, order: list[int]) -> Walk | None:
    trace = paths(training, len(facts.domains))
    if trace is None or not np.isfinite(trace["weights"]).any():
        return None
    weights = trace["weights"][:, order].astype(np.float64)
    average = np.cumsum(weights, axis=0) / np.arange(1, len(weights) + 1)[:, None]
    scores = trace["scores"][:, order].astype(np.float64)
    return Walk(training.seed, trace["step"].astype(np.float64), weights, average, scores)


def weights_figure(drawn: Drawn, walks: list[Walk], number: int) -> Figure:
    """The weights' path and their running mean in one round, a panel a domain."""
    facts, search, order = drawn.facts, drawn.search, drawn.order
    key = f"weights{drawn.key}" + ("" if number == search.last_round else f"-round-{number}")
    title = f"{WEIGHTS}{drawn.title}{f' in round {number}' if number else ''}"
    if not walks:
        return Figure(key, title, "There is no path of the weights yet, since no proxy model has started.")
    reference = facts.reference_weights(search, number) or [math.nan] * len(facts.domains)
    points = _points(2 * len(walks) * len(order))
    picked = [_picked(walk, points) for walk in walks]
    values = np.concatenate([x for _, w, a in picked for x in (w, a)])
    known = [reference[i] for i in order if reference[i] > 0]
    scales = plots.frame(_span(walks), np.append(values, known), percent_tick)
    final = np.mean([walk.average[-1] for walk in walks], axis=0)
    contents = [
        (
            [plots.Line(x, w[:, at], "s0", 0.7, 0.55) for x, w, _ in picked]
            + [plots.Line(x, a[:, at], "s0", 1.8) for x, _, a in picked],
            reference[i],
        )
        for at, i in enumerate(order)
    ]
    panels = _panels(facts, order, plots.panels(key, contents, scales), [percent(x, 1) for x in final])
    legend = [("s0", "thin", "weight at a step"), ("s0", "thick", "running mean, whose end is the mixture")]
    if known:
        legend.append(("ink", "dotted", f"share in the reference mixture ({facts.searched_from(search, number)})"))
    caption = (
        f"{_what(drawn, walks, number)} {_scale_words(scales)} The number beside the name is the last running mean."
    )
    table = _weights_table(facts, order, walks, f"{key}-table")
    return Figure(key, title, caption, panels=panels, legend=legend, table=table)


def scores_figure(drawn: Drawn, walks: list[Walk]) -> Figure:
    """Excess losses in block means, a panel a domain."""
    facts, order = drawn.facts, drawn.order
    key, title = f"scores{drawn.key}", f"{SCORES}{drawn.title}"
    if not walks or not any(np.isfinite(walk.scores).any() for walk in walks):
        return Figure(key, title, "There are no excess losses yet, since no proxy model has started.")
    points = min(60, _points(len(walks) * len(order)))
    blocks = [_blocks(walk, points) for walk in walks]
    scales = plots.frame(_span(walks), np.concatenate([y for _, y in blocks]), short_tick)
    last = _mean([y[-1] for _, y in blocks])
    contents = [([plots.Line(x, y[:, at], "s1", 1.1, 0.9) for x, y in blocks], math.nan) for at in range(len(order))]
    panels = _panels(facts, order, plots.panels(key, contents, scales), [fixed(float(x), 3) for x in last])
    block = math.ceil(max(len(walk.step) for walk in walks) / points)
    caption = (
        f"Excess loss in nats a token, clipped at 0, as means over {plural(block, 'step')}. "
        f"{_what(drawn, walks, drawn.search.last_round)} The search moves weight to where this stays high. "
        f"{_scale_words(scales)} The number beside the name is the last mean."
    )
    return Figure(key, title, caption, panels=panels, table=_scores_table(f"{key}-table", facts, order, blocks))


def _panels(facts: Facts, order: list[int], pictures: list[str], notes: list[str]) -> list[Panel]:
    names = [facts.domains[i] for i in order]
    return [Panel(*parts) for parts in zip(names, notes, pictures, strict=True)]


def _what(drawn: Drawn, walks: list[Walk], number: int) -> str:
    """Who is in the picture: one line a seed, and how many of the domains."""
    seeds = f"seed {walks[0].seed}" if len(walks) == 1 else f"one line each for seeds {listed(w.seed for w in walks)}"
    left = len(drawn.facts.domains) - walks[0].weights.shape[1]
    more = f". The {walks[0].weights.shape[1]} largest of {len(drawn.facts.domains):,} domains" if left > 0 else ""
    unfinished = [t.seed for t in drawn.search.of("proxy", number) if not t.finished]
    note = f" Seed {listed(unfinished)} is unfinished so far." if unfinished else ""
    return f"One panel for each domain, largest weight first, {seeds}{more}.{note}"


def _scale_words(scales: plots.Frame) -> str:
    return f"All panels have the same scales, the upright one {'logarithmic' if scales.log else 'from zero'}."


def _points(lines: int) -> int:
    return max(24, min(160, _POINTS // max(1, lines)))


def _span(walks: list[Walk]) -> tuple[float, float]:
    first, last = min(float(w.step[0]) for w in walks), max(float(w.step[-1]) for w in walks)
    return first, last if last > first else first + 1.0


def _picked(walk: Walk, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = chosen(len(walk.step), points)
    return walk.step[at], walk.weights[at], walk.average[at]


def _blocks(walk: Walk, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Middle steps `[P]` and mean scores `[P, D]` of equal blocks; NaN where a block has no score."""
    starts = np.arange(0, len(walk.step), math.ceil(len(walk.step) / points))
    known = np.isfinite(walk.scores)
    sums = np.add.reduceat(np.where(known, walk.scores, 0.0), starts, axis=0)
    counts = np.add.reduceat(known.astype(float), starts, axis=0)
    middle = np.add.reduceat(walk.step, starts) / np.diff(np.append(starts, len(walk.step)))
    return middle, np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _mean(arrays: list[np.ndarray]) -> np.ndarray:
    """Mean of equally shaped arrays where there are numbers, NaN where there are none."""
    known = np.isfinite(arrays)
    total, seen = np.where(known, arrays, 0.0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, seen, out=np.full(total.shape, np.nan), where=seen > 0)


def _weights_table(facts: Facts, order: list[int], walks: list[Walk], key: str) -> Table:
    at = chosen(min(len(walk.step) for walk in walks))
    mean = np.mean([walk.weights[at] for walk in walks], axis=0)
    columns = [("Domain", "text"), *((f"Step {walks[0].step[i]:,.0f}", "number") for i in at)]
    columns += [(f"Running mean, seed {walk.seed}", "number") for walk in walks]
    ends = [_ends(facts, order, walk) for walk in walks]
    rows = [
        [Cell(facts.domains[i]), *(Cell(percent(x)) for x in mean[:, d]), *(cells[i] for cells in ends)]
        for d, i in enumerate(order)
    ]
    below = f" Below those: epochs at {count(facts.budget())} tokens." if facts.has_budget else ""
    return Table(key, f"Weights at some steps, mean over seeds, and each last running mean.{below}", columns, rows)


def _ends(facts: Facts, order: list[int], walk: Walk) -> list[Cell]:
    """A proxy's last running mean, `[K]`; only the domains shown are filled in."""
    known = dict(zip(order, walk.average[-1].tolist(), strict=True))
    weights = [known.get(i, math.nan) for i in range(len(facts.domains))]
    return [Cell(percent(x), small=below) for x, below in zip(weights, repeats(facts, weights), strict=True)]


def _scores_table(key: str, facts: Facts, order: list[int], blocks: list[tuple[np.ndarray, np.ndarray]]) -> Table:
    at = chosen(min(len(x) for x, _ in blocks))
    mean = _mean([y[at] for _, y in blocks])
    columns = [("Domain", "text"), *((f"Around step {blocks[0][0][i]:,.0f}", "number") for i in at)]
    rows = [[Cell(facts.domains[i]), *(Cell(fixed(float(x), 4)) for x in mean[:, d])] for d, i in enumerate(order)]
    return Table(key, "Excess loss in nats a token, mean over seeds.", columns, rows)
