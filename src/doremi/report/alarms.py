"""What rang while models trained: a line of the page, and a table if there is something to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.report.facts import Facts
from doremi.report.tables import Cell, Table
from doremi.report.trainings import Training, records
from doremi.report.words import count, plural


def alarms(facts: Facts) -> list[tuple[Training, Mapping[str, Any]]]:
    """The alarm records of all trainings, round by round, references first."""
    return [(t, record) for t in facts.trainings if not t.same_as for record in records(t.folder, "alarm")]


def alarm_words(facts: Facts) -> tuple[str, str]:
    """State and words of the line "Health"."""
    rung = alarms(facts)
    if not rung and not any(t.finished for t in facts.trainings):
        return "missing", "Alarms are listed here while models train."
    if not rung:
        return "done", "No alarm was raised while the models trained."
    return "partly", f"{plural(len(rung), 'alarm')} raised. See the table under How it was made."


def alarm_table(facts: Facts) -> Table | None:
    """One row an alarm: where it rang, what was seen, what to do."""
    rows = [
        [
            Cell(str(record.get("name")).replace("_", " ")),
            Cell(f"{facts.title(training)}, seed {training.seed}", small=f"step {count(record.get('step'))}"),
            Cell(str(record.get("reason"))),
            Cell(str(record.get("advice"))),
        ]
        for training, record in alarms(facts)
    ]
    columns = [("Alarm", "text"), ("Where", "text"), ("What was seen", "text"), ("What to do", "text")]
    return Table("alarms", "Alarms, each when it was first raised.", columns, rows) if rows else None
