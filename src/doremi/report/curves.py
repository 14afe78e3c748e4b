"""How the main models learned: mean losses over tokens, and their gaps to the baseline. `E` counts evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from doremi.report import plots
from doremi.report.facts import Facts
from doremi.report.figures import Figure, chosen
from doremi.report.tables import Cell, Table
from doremi.report.trainings import curve
from doremi.report.words import count, fixed, plural

_EVALUATIONS = 100  # points of a learning curve


@dataclass(frozen=True)
class Course:
    """A candidate's learning: `tokens`, mean `loss` and `bits` `[E]` over seeds; `seeds` are their losses `[S, E]`."""

    name: str
    tokens: np.ndarray
    loss: np.ndarray
    bits: np.ndarray
    seeds: np.ndarray


def curves_figure(facts: Facts) -> Figure:
    """Mean loss of the main models over tokens, and its gap to the reference mixture's."""
    key, title = "curves", "How the main models learned"
    courses = _courses(facts)
    if not courses:
        return Figure(key, title, "There are no learning curves yet, since no main model is finished.")
    baseline = next((c for c in courses if c.name == facts.baseline_name), None)
    tones = _tones([c.name for c in courses], list(facts.found), facts.baseline_name)
    lines = [plots.Line(c.tokens, c.loss, *tones[c.name], label=c.name, mark=_mark(facts, c)) for c in courses]
    gaps = _gaps(courses, baseline, tones)
    goal = math.nan if baseline is None else float(baseline.loss[-1])
    caption = f"Mean over domains of the loss in nats a token, from the first quarter of training on. {_seen(facts)}"
    if gaps:
        caption += (
            f" The dotted line is where {facts.baseline_name} ends. A ring marks where a mixture stays below it. "
            f"The lower half shows the difference to {facts.baseline_name} at equal tokens. Below zero is better. "
            "Thin lines are seeds."
        )
    svg = plots.curves(key, "Mean loss of the main models over training tokens", lines, gaps, goal)
    return Figure(key, title, caption, svg=svg, table=_curves_table(courses))


def _seen(facts: Facts) -> str:
    seeds = sorted({t.seed for t in facts.models()})
    return (
        f"Report half of the held-out documents, mean over {plural(len(seeds), 'seed')}, models of size {facts.size()}."
    )


def _courses(facts: Facts) -> list[Course]:
    groups: dict[str, list[dict[str, np.ndarray]]] = {}
    for t in facts.models():
        if t.size == facts.size() and facts.domains:
            groups.setdefault(t.name, []).append(curve(t, len(facts.domains)))
    made = []
    for name, held in groups.items():
        length = min(len(c["tokens"]) for c in held)
        at = chosen(length, _EVALUATIONS)
        loss = np.array([c["loss"][at] for c in held])
        if length and np.isfinite(loss).all():
            bits = np.mean([c["bits_per_byte"][at] for c in held], axis=0)
            made.append(Course(name, held[0]["tokens"][at], loss.mean(axis=0), bits, loss))
    return made


def _tones(names: list[str], found: list[str], reference: str) -> dict[str, tuple[str, float, float, int]]:
    """(tone, width, opacity, dash) of each candidate: found ones and the reference mixture always look the same."""
    held = {name: (f"s{n % 8}", 2.0, 1.0, 0) for n, name in enumerate(found)} | {reference: ("ink", 1.4, 1.0, 0)}
    others, first = [name for name in names if name not in held], max(1, len(found))
    return held | {name: (f"s{(first + n % 7) % 8}", 1.4, 1.0, 1 + n % 6) for n, name in enumerate(others)}


def _mark(facts: Facts, course: Course) -> tuple[float, float] | None:
    """Where the candidate reaches the baseline, on its curve; the verdict counts in steps."""
    judged = facts.verdict.candidate(course.name) if facts.verdict else None
    if judged is None or course.name == facts.baseline_name or not judged.steps_to_baseline.step:
        return None
    tokens = judged.steps_to_baseline.step / judged.steps_to_baseline.of * float(course.tokens[-1])
    return tokens, float(np.interp(tokens, course.tokens, course.loss))


def _gaps(
    courses: list[Course], baseline: Course | None, tones: dict[str, tuple[str, float, float, int]]
) -> list[plots.Line]:
    if baseline is None or len(courses) < 2:
        return []
    lines = []
    for c in courses:
        if c is baseline or not np.array_equal(c.tokens, baseline.tokens):
            continue
        color, width, _, dash = tones[c.name]
        if c.seeds.shape == baseline.seeds.shape and len(c.seeds) > 1:
            lines += [plots.Line(c.tokens, gap, color, 0.6, 0.45) for gap in c.seeds - baseline.seeds]
        lines.append(plots.Line(c.tokens, c.loss - baseline.loss, color, width, 1.0, dash, c.name))
    return lines


def _curves_table(courses: list[Course]) -> Table:
    longest = max(courses, key=lambda c: len(c.tokens))
    rows = []
    for i in chosen(len(longest.tokens), 12):
        row = [Cell(count(longest.tokens[i]))]
        for c in courses:
            there = i < len(c.tokens)
            row.append(Cell(fixed(c.loss[i], 4), f"{fixed(c.bits[i], 4)} bits") if there else Cell(""))
        rows.append(row)
    columns = [("Tokens", "text"), *((c.name, "number") for c in courses)]
    return Table("curves-table", "Mean over domains, in nats a token, with bits per byte below.", columns, rows)
