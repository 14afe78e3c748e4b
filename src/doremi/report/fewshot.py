"""Few-shot tasks: each metric a table of candidates by tasks, with the mean's difference to the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.report.facts import Facts, inner
from doremi.report.tables import Cell, Table, compared, comparison, lowest
from doremi.report.words import number, signed


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
        f"{'higher' if higher else 'lower'} is better. The best of each column is boxed."
    )
    return Table(f"fewshot-{metric}", caption, [("Mixture", "text"), *((c, "number") for c in columns)], rows)


def _best(values: list[float], higher: bool) -> float:
    return -lowest([-v for v in values]) if higher else lowest(values)


def _cell(facts: Facts, held: Mapping[str, Any], name: str, values: Any, column: str, best: float) -> Cell:
    one = comparison(held, candidate=name, opponent=facts.baseline_name, task=column)
    difference = "" if one is None else signed(one.get("difference"), 4)
    return compared(number(inner(values, column)), best, one, difference, ends=True)
