"""metrics.jsonl and trace.f32 of a training: written line by line, and read though the last line may be cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from doremi.errors import RunError
from doremi.events.event import Alarmed, Evaluated, Event, Measured
from doremi.files import FORMAT, flush_to_disk, write_bytes
from doremi.mixture.domains import DomainSet

TRACE_COLUMNS = ("loss", "tokens", "weights", "scores", "score_error", "reference_loss")


class MetricsWriter:
    """Appends to metrics.jsonl and trace.f32 of one training folder; `cut_back` first when it goes on."""

    def __init__(self, folder: Path, domains: DomainSet, objective: str) -> None:
        self.metrics, self.trace, self.k = folder / "metrics.jsonl", folder / "trace.f32", len(domains)
        self.columns = TRACE_COLUMNS
        names = {"domains": list(domains), "objective": objective, "trace": list(self.columns)}
        self.header = {"kind": "header", "format": FORMAT, **names}

    def cut_back(self, logged: int, evaluated: int) -> None:
        """Keep rows and records of steps up to `logged` and evaluations up to `evaluated`; drop what came after."""
        kept = [_line(self.header)]
        if self.metrics.exists():
            last = {"train": logged, "evaluation": evaluated, "alarm": evaluated}
            whole = whole_records(self.metrics)
            kept += [line for line, record in whole if record.get("step", 0) <= last.get(record["kind"], -1)]
        write_bytes(self.metrics, "".join(kept).encode())
        rows = whole_rows(self.trace, 3 + len(self.columns) * self.k)
        write_bytes(self.trace, rows[rows[:, 0] <= logged].tobytes())

    def rows(self, rows: np.ndarray) -> None:
        """Append `[n, 3 + 6K]` rows of the trace."""
        with self.trace.open("ab") as file:
            file.write(rows.astype("<f4").tobytes())

    def hear(self, event: Event) -> None:
        """Append the record of an event that has one. What cannot be written is an error: no training goes on then."""
        if isinstance(event, (Measured, Evaluated, Alarmed)):
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(_line(event.record()))

    def flush(self) -> None:
        """Everything written so far is on the disk afterwards."""
        for path in (self.metrics, self.trace):
            flush_to_disk(path)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"


def whole_rows(path: Path, width: int) -> np.ndarray:
    """Rows `[T, width]` of a trace whose last one may have been cut off; none if there is no file."""
    values = np.fromfile(path, dtype="<f4") if path.exists() else np.zeros(0, dtype="<f4")
    return values[: len(values) // width * width].reshape(-1, width)


def whole_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Lines and records of a metrics file up to the first line that is none: the last one may have been cut off."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        raise RunError(f"{path}: there are no metrics here yet; `doremi run` makes them") from None
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not _is_record(record):
            return
        yield line + "\n", record


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("kind") == "header":
        return isinstance(value.get("domains"), list) and isinstance(value.get("trace"), list)
    return "kind" in value and isinstance(value.get("step"), int)
