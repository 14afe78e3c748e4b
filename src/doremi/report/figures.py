"""What a picture of the page is, and the two that have a row a domain: weights and epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from doremi.report import plots
from doremi.report.facts import Facts
from doremi.report.tables import Cell, Table, epochs_of, shown
from doremi.report.words import NBSP, count, factor, number, passes, percent, plural

COLUMNS = 6  # steps in a picture's table


@dataclass(frozen=True)
class Panel:
    name: str
    note: str
    svg: str


@dataclass(frozen=True)
class Figure:
    """One figure of the page; without pictures, `caption` says why. `legend` is (tone, mark, words)."""

    key: str
    title: str
    caption: str
    svg: str = ""
    panels: Sequence[Panel] = field(default_factory=list)
    legend: Sequence[tuple[str, str, str]] = field(default_factory=list)
    table: Table | None = None


def percent_tick(x: float) -> str:
    return f"{100 * x:.4g}{NBSP}%"


def short_tick(x: float) -> str:
    return f"{x:.3g}"


def chosen(length: int, most: int = COLUMNS) -> list[int]:
    """At most `most` positions of `length`, evenly spread, both ends among them."""
    return [int(i) for i in np.unique(np.linspace(0, length - 1, min(most, length)).round())]


def change_figure(facts: Facts) -> Figure:
    """Reference against found weights, with the mixture of each seed."""
    key, title, order = "change", "What the search changes", shown(facts)
    found, reference = facts.found, facts.reference_weights()
    if not found or reference is None:
        missing = "the reference mixture is not there" if found else "no search has found a mixture"
        return Figure(key, title, f"There is nothing to compare yet, since {missing}.")
    marks = [plots.Dots("reference", [reference[i] for i in order], "ink", filled=False)]
    legend = [("ink", "hollow", f"reference mixture ({facts.reference_name})")]
    for n, (name, record) in enumerate(found.items()):
        tone, weights, seeds = tone_of(n), facts.in_order(record.weights), record.per_seed or {}
        spread = [[number(held.get(facts.domains[i])) for held in seeds.values()] for i in order]
        marks.append(plots.Dots(name, [weights[i] for i in order], tone, spread=spread))
        legend.append((tone, "dot", name))
        legend += [(tone, "tick", f"{name} of each of {plural(len(seeds), 'seed')}")] if len(seeds) > 1 else []
    scale = _dots_words([value for mark in marks for value in mark.values])
    moved = [_moved(name, reference, facts.in_order(record.weights)) for name, record in found.items()]
    return Figure(
        key,
        title,
        f"Share of the training tokens by domain. {' '.join(moved)}{scale}",
        svg=plots.dots(key, "Weights by domain", [facts.domains[i] for i in order], marks, percent_tick),
        legend=legend,
        table=_change_table(facts, order, reference),
    )


def tone_of(n: int) -> str:
    """The color of the n-th found mixture."""
    return f"s{n % 8}"


def _change_table(facts: Facts, order: list[int], reference: list[float]) -> Table:
    columns, after = [("Domain", "text"), ("Reference", "number")], []
    for name, record in facts.found.items():
        change = f"Change, {name}" if len(facts.found) > 1 else "Change"
        columns += [(name, "number"), (change, "number")]
        after.append(facts.in_order(record.weights))
    rows = [
        [Cell(facts.domains[i]), Cell(percent(reference[i]))]
        + [cell for weights in after for cell in _pair(reference[i], weights[i])]
        for i in order
    ]
    return Table("change-table", "Shares of the training tokens.", columns, rows)


def _dots_words(values: list[float]) -> str:
    """What the reader must know about the scale."""
    if not plots.dots_scale(np.array(values))[2]:
        return ""
    return " The scale is logarithmic" + (", and 0 lies at its left end." if 0.0 in values else ".")


def _pair(before: float, after: float) -> list[Cell]:
    return [Cell(percent(after)), Cell(factor(after / before) if before > 0 else "new")]


def _moved(name: str, before: list[float], after: list[float]) -> str:
    distance = 0.5 * math.fsum(abs(a - b) for a, b in zip(after, before, strict=True))
    return f"{name} gives {percent(distance, 1)} of the tokens to other domains than the reference mixture does."


def epochs_figure(facts: Facts) -> Figure:
    """Passes over each domain at the budget, of the reference and of what was found."""
    key, title, order = "epochs", "How often each domain is repeated", shown(facts)
    reference = facts.reference_weights()
    held = [(name, tone_of(n), True, epochs_of(facts, name, facts.weights(name))) for n, name in enumerate(facts.found)]
    if reference:
        held.insert(0, ("reference", "ink", False, epochs_of(facts, facts.reference_name, reference)))
    held = [entry for entry in held if any(math.isfinite(entry[3][i]) for i in order)]
    if not held:
        return Figure(key, title, "Epochs need a mixture, a budget and token counts. One of them is not there yet.")
    marks = [plots.Dots(name, [epochs[i] for i in order], tone, filled) for name, tone, filled, epochs in held]
    legend = [(tone, "dot" if filled else "hollow", name) for name, tone, filled, _ in held]
    left, right, _ = plots.dots_scale(np.array([mark.values for mark in marks]))
    legend += [("ink", "dotted", "all of a domain's text once")] if left < 1 < right else []
    rows = [[Cell(facts.domains[i]), *(Cell(passes(e[i])) for *_, e in held)] for i in order]
    columns = [("Domain", "text"), *((name, "number") for name, *_ in held)]
    table = Table(f"{key}-table", f"Epochs at {count(facts.budget())} tokens.", columns, rows)
    caption = (
        f"Passes over a domain's training tokens in {facts.budgeted_run()} of {count(facts.budget())} tokens "
        "(weight x budget / tokens). Text seen many times teaches less each time."
    ).replace(" x ", " \N{MULTIPLICATION SIGN} ")
    caption += _dots_words([value for mark in marks for value in mark.values])
    svg = plots.dots(key, "Epochs by domain", [facts.domains[i] for i in order], marks, short_tick, level=1.0)
    return Figure(key, title, caption, svg=svg, legend=legend, table=table)
