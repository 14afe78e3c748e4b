"""Few-shot tasks: each metric a table of candidates by tasks, with the mean's difference to the baseline."""

from __future__ import annotations

from collections.abc import Mapping

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Difference, Table, compared, lowest
from doremi.report.words import number, signed
from doremi.verdict.values import Metric


def fewshot_tables(facts: Facts) -> list[Table]:
    """One table a metric; empty where no tasks were evaluated."""
    tasks = facts.verdict.downstream if facts.verdict else None
    return [_table(facts, name, metric, tasks.shots) for name, metric in tasks.metrics.items()] if tasks else []


def _table(facts: Facts, name: str, metric: Metric, shots: int) -> Table:
    columns = ["mean", *metric.tasks]
    best = {c: _best([number(v.get(c)) for v in metric.values.values()], metric.higher_is_better) for c in columns}
    rows = [
        [Cell(mixture), *(_cell(facts, metric, mixture, values, c, best[c]) for c in columns)]
        for mixture, values in metric.values.items()
    ]
    caption = (
        f"{name.replace('_', ' ').capitalize()}, {shots} shot, mean over seeds; "
        f"{'higher' if metric.higher_is_better else 'lower'} is better. The best of each column is boxed."
    )
    return Table(f"fewshot-{name}", caption, [("Mixture", "text"), *((c, "number") for c in columns)], rows)


def _best(values: list[float], higher: bool) -> float:
    return -lowest([-v for v in values]) if higher else lowest(values)


def _cell(
    facts: Facts, metric: Metric, mixture: str, values: Mapping[str, float | None], column: str, best: float
) -> Cell:
    wanted = (mixture, facts.baseline_name, column)
    one = next((c for c in metric.comparisons if (c.candidate, c.opponent, c.task) == wanted), None)
    difference = one and Difference(signed(one.difference, 4), one.outcome, one.interval)
    return compared(number(values.get(column)), best, difference)
