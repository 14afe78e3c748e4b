"""Few-shot tasks: each metric a table of candidates by tasks, with the mean's difference to the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.report.facts import Facts, inner, listing
from doremi.report.tables import Cell, Table, lowest, outcome
from doremi.report.words import NBSP, fixed, number, signed


def fewshot_tables(facts: Facts) -> list[Table]:
    """One table a metric; empty where no tasks were evaluated."""
    metrics = inner(facts.verdict, "downstream", "metrics")
    shots = inner(facts.verdict, "downstream", "shots")
    return [_table(facts, metric, held, shots) for metric, held in (metrics or {}).items() if isinstance(held, Mapping)]


def _table(facts: Facts, metric: str, held: Mapping[str, Any], shots: Any) -> Table:
    values = held.get("values") or {}
    higher = held.get("higher_is_better") is True
    columns = ["mean", *(held.get("tasks") or [])]
    best = {c: _best([number(inner(v, c)) for v in values.values()], higher) for c in columns}
    rows = [
        [Cell(str(name)), *(_cell(facts, held, name, v, c, best[c]) for c in columns)] for name, v in values.items()
    ]
    caption = (
        f"{metric.replace('_', ' ').capitalize()}, {shots} shot, mean over seeds; "
        f"{'higher' if higher else 'lower'} is better, boxed: best of the column."
    )
    return Table(f"fewshot-{metric}", caption, [("Mixture", "text"), *((c, "number") for c in columns)], rows)


def _best(values: list[float], higher: bool) -> float:
    return -lowest([-v for v in values]) if higher else lowest(values)


def _cell(facts: Facts, held: Mapping[str, Any], name: str, values: Any, column: str, best: float) -> Cell:
    value = number(inner(values, column))
    for one in listing(held, "comparisons"):
        if (one.get("candidate"), one.get("opponent"), one.get("task")) == (name, facts.baseline_name, column):
            found, ends = str(one.get("outcome")), one.get("interval")
            interval = f" ({signed(ends[0], 4)} to {signed(ends[1], 4)})" if isinstance(ends, list) else ""
            small = f"{signed(one.get('difference'), 4)}{interval}{NBSP}{found}"
            return Cell(fixed(value, 4), small=small, best=value == best, outcome=outcome(found))
    return Cell(fixed(value, 4), best=value == best)
