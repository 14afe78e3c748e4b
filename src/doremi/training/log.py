"""What a training writes down: a row a step, a line every few steps and at each evaluation, alarms when they ring.

What the device computes stays there until a line is written, and what the host knows stays here, so that logging
never makes a step wait. Shapes: K domains, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doremi.diagnostics.health import Alarm, plain_alarms, proxy_alarms
from doremi.distributed import World
from doremi.errors import TrainingError
from doremi.events.event import Alarmed, Began, Evaluated, Event, Measured, Said, SplitLosses, Stepped
from doremi.events.stream import Watch
from doremi.mixture.domains import DomainSet
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.metrics import MetricsWriter


@dataclass(frozen=True)
class About:
    """What a log knows of its training."""

    name: str
    """What it is called in messages and events."""
    key: str
    """Hash of all that its result depends on."""
    steps: int
    domains: DomainSet
    objective: str
    """Its name."""
    columns: tuple[str, ...]
    """Which columns of the trace the objective fills."""
    tokens_per_step: int
    epoch_tokens: list[int]
    """Training tokens of each domain, `[K]`."""
    operations: int | None = None
    """Matrix operations that a step needs; None where they cannot be counted."""
    peak: float | None = None
    """Operations a second that all devices together can do; None where that is not known."""


class TrainingLog:
    """metrics.jsonl and trace.f32 of one training (docs/formats.md)."""

    def __init__(self, folder: Path, about: About, world: World, watch: Watch) -> None:
        self.folder, self.about, self.world, self.watch = folder, about, world, watch
        self.domains, self.k = about.domains, len(about.domains)
        self.writer = MetricsWriter(folder, about.domains, about.objective)
        self.pending: list[tuple[float, float, Tensor]] = []
        """Since the last line: step, learning rate, and on the device the rest of the row, float64."""
        self.rung: set[str] = set()
        """Names of the alarms that have rung."""

    # -- events --------------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        """Write the event's record, then pass it on, on the main process: the others have the same to tell."""
        if self.world.is_main:
            self.writer.hear(event)
            self.watch.emit(event)

    def say(self, message: str) -> None:
        self._tell(Said(message))

    def began(self, step: int) -> None:
        """`step` steps are done, of an earlier process."""
        about = self.about
        self._tell(
            Began(
                about.name, about.key, about.objective, about.steps, step, about.tokens_per_step, tuple(about.domains),
                about.operations, about.peak,
            )
        )  # fmt: skip

    def stepped(self, step: int) -> None:
        """A step is done."""
        self._tell(Stepped(self.about.name, step, self.about.steps, self.tokens_after(step)))

    # -- steps ---------------------------------------------------------------------------------------------------

    def row(self, step: int, learning_rate: float, norm: Tensor, sums: Mapping[str, Tensor]) -> None:
        """Keep one step; `sums` are by domain `[K]`: loss, tokens, weights, scores, score_error, reference_loss."""
        parts = [norm.reshape(1), *(sums[name] for name in self.writer.columns)]
        rest = torch.cat([part.to(self.world.device, torch.float64) for part in parts])
        self.pending.append((step, learning_rate, rest))

    def put_back(self, rows: Tensor | None) -> None:
        """Begin again with the rows that `finite_rows` gave to a checkpoint; None if there were none."""
        kept = [] if rows is None else list(rows.cpu())
        self.pending = [(float(row[0]), float(row[1]), row[2:].to(self.world.device)) for row in kept]

    def flush(self, average_weights: Tensor | None) -> None:
        """Write the rows kept so far and a line that sums them up; `TrainingError` if one is not finite."""
        if not self.pending:
            return
        rows = self.finite_rows().numpy()
        self.pending = []
        if self.world.is_main:
            self.writer.rows(rows)
            self._tell(self._measured(rows, average_weights))

    def finite_rows(self) -> Tensor:
        """The rows kept so far (one at least), on the CPU; `TrainingError` names step and domain of one not finite."""
        head = torch.tensor([row[:2] for row in self.pending], dtype=torch.float64)
        kept = torch.cat([head, torch.stack([row[2] for row in self.pending]).cpu()], dim=1)
        rows = kept.numpy()
        loss, tokens = self._column(rows, "loss"), self._column(rows, "tokens")
        bad = ~np.isfinite(np.where(tokens > 0, loss, 0.0))
        bad_rows = np.flatnonzero(bad.any(axis=1) | ~np.isfinite(rows[:, 2]))
        if not bad_rows.size:
            return kept
        row = bad_rows[0]
        names = [name for name, is_bad in zip(self.domains, bad[row], strict=True) if is_bad]
        raise self.not_finite(names, int(rows[row, 0]), rows[row, 1])

    def not_finite(self, names: Sequence[str], step: int, learning_rate: float) -> TrainingError:
        """The error for losses of the domains `names` that are not finite, or for such a gradient if there are none."""
        what = f"the loss of domain {names[0]!r} is" if names else "the gradient is"
        more = f" (and of {len(names) - 1} more)" if len(names) > 1 else ""
        return TrainingError(
            f"{self.folder}: at step {step} {what} not finite{more}. Lower training.learning_rate "
            f"(now {learning_rate:.3g}) or training.gradient_clip. The last good checkpoint is kept."
        )

    def _column(self, rows: np.ndarray, name: str) -> np.ndarray:
        start = 3 + self.k * self.writer.columns.index(name)
        return rows[:, start : start + self.k]

    def _measured(self, rows: np.ndarray, average_weights: Tensor | None) -> Measured:
        last, loss, tokens = rows[-1], self._column(rows, "loss"), self._column(rows, "tokens")
        total = tokens.sum(axis=0)
        nats = np.where(tokens > 0, loss * tokens, 0.0).sum(axis=0)
        return Measured(
            self.about.name,
            step=int(last[0]),
            tokens=self.tokens_after(int(last[0])),
            loss=float(nats.sum() / total.sum()),
            learning_rate=float(last[1]),
            gradient_norm=float(last[2]),
            domain_loss=[float(n / t) if t else None for n, t in zip(nats, total, strict=True)],
            domain_tokens=[int(t) for t in total],
            weights=self._last_of_objective(rows, "weights"),
            average_weights=average_weights.tolist() if average_weights is not None else None,
            scores=self._last_of_objective(rows, "scores"),
        )

    def _last_of_objective(self, rows: np.ndarray, name: str) -> list[float] | None:
        return self._column(rows, name)[-1].tolist() if name in self.about.columns else None

    def tokens_after(self, step: int) -> int:
        """Tokens trained on in the first `step` steps."""
        return step * self.about.tokens_per_step

    # -- evaluations ---------------------------------------------------------------------------------------------

    def evaluation(self, step: int, summary: Mapping[str, Mapping[str, Any]], *, last: bool) -> None:
        """One line for an evaluation; and one for each alarm that rings for the first time."""
        if not self.world.is_main:
            return
        splits = {split: SplitLosses(value["loss"], value["bits_per_byte"]) for split, value in summary.items()}
        self._tell(Evaluated(self.about.name, step, self.tokens_after(step), splits))
        for alarm in self._alarms(last):
            if alarm.name not in self.rung:
                self.rung.add(alarm.name)
                self._tell(Alarmed(self.about.name, step, **vars(alarm)))

    def _alarms(self, last: bool) -> list[Alarm]:
        """What rings now; whether the weights have settled is asked at the end, for on the way they never have."""
        folder = TrainingFolder(self.folder)
        trace = folder.trace()
        if "weights" not in self.about.columns:
            losses = _losses(folder, trace, np.array(self.about.epoch_tokens))
            return plain_alarms(self.domains, *losses)
        found = proxy_alarms(self.domains, trace)
        return [alarm for alarm in found if last or alarm.name != "not_settled"]

    # -- going on ------------------------------------------------------------------------------------------------

    def cut_back(self, step: int, last_step: int) -> None:
        """Drop what was written after the checkpoint of `step`, whose pending rows have been put back."""
        if not self.world.is_main:
            return
        # the last step is evaluated after its checkpoint, all others before
        evaluated = step if step < last_step else step - 1
        self.writer.cut_back(logged=step - len(self.pending), evaluated=evaluated)
        self.rung = {record["name"] for record in TrainingFolder(self.folder).records("alarm")}


def _losses(
    folder: TrainingFolder, trace: Mapping[str, np.ndarray], epoch_tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training and validation loss and passes over the tokens at each evaluation, `[E, K]` each."""
    k = len(epoch_tokens)
    tokens_TK = np.cumsum(trace["tokens"], axis=0, dtype=np.float64)
    nats_TK = np.cumsum(np.nan_to_num(trace["loss"]) * trace["tokens"], axis=0, dtype=np.float64)
    before, rows = (np.zeros(k), np.zeros(k)), []
    for record in folder.records("evaluation"):
        at = int(np.searchsorted(trace["step"], record["step"], side="right")) - 1
        if at < 0:
            continue
        now = nats_TK[at], tokens_TK[at]
        seen = now[1] - before[1]
        train = np.where(seen > 0, (now[0] - before[0]) / np.maximum(seen, 1), math.nan)
        rows.append((train, np.array(record["select"]["loss"], float), now[1] / epoch_tokens))
        before = now
    empty = np.zeros((0, k))
    return tuple(np.array(part) for part in zip(*rows, strict=True)) if rows else (empty, empty, empty)  # type: ignore[return-value]
