"""The one loop: fetch, losses, update the weights, backward, step, log, evaluate, save.

A training is a model, an objective and a stream of batches; nothing here knows which stage it serves. The gradient
of a step is that of `sum_k token_weight[k] * (sum of domain k's token losses)` over the whole global batch, whatever
the number of micro-batches and processes: sums are added first and the weights follow from them.

Shapes: B sequences, T tokens, K domains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from doremi import checkpoint
from doremi.config import TrainingConfig
from doremi.corpus.loader import Batch, BatchStream
from doremi.distributed import World, is_sharded, plain
from doremi.domains import DomainSet
from doremi.dro import sum_by_domain, weighted_loss
from doremi.errors import Interrupted, TrainingError
from doremi.evaluation.perplexity import ValidationSet
from doremi.model import TokenLosses, eval_mode
from doremi.reference_losses import ReferenceLosses
from doremi.runs import MetricsWriter, write_bytes, write_json


class Objective(Protocol):
    """Turns a global batch's sums into what each token counts; `GroupDRO` and `VariantDRO` are objectives too."""

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor: ...
    def update(self, sums_2K: Tensor) -> Tensor: ...
    def token_weights(self, count_K: Tensor) -> Tensor: ...
    @property
    def average_weights(self) -> Tensor: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class PlainObjective:
    """Ordinary training: nothing is scored, every token counts the same."""

    def sums(self, loss_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor, domain_B: Tensor) -> Tensor:
        raise NotImplementedError("a plain objective scores nothing")

    def update(self, sums_2K: Tensor) -> Tensor:
        raise NotImplementedError("a plain objective has no weights to update")

    def token_weights(self, count_K: Tensor) -> Tensor:
        return torch.ones_like(count_K) / count_K.sum()

    @property
    def average_weights(self) -> Tensor:
        raise NotImplementedError("a plain objective has no weights to average")

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert not state


class Watch(Protocol):
    """Whoever looks on: is told of each step, and may ask to stop."""

    def stage(self, name: str) -> None: ...
    def step(self, step: int, steps: int, tokens: int) -> None: ...
    def record(self, record: Mapping[str, Any]) -> None: ...
    def say(self, message: str) -> None: ...
    def stop_requested(self) -> bool: ...


@dataclass(frozen=True)
class Job:
    """One model to train."""

    folder: Path
    key: str
    """Hash of everything the result depends on; a checkpoint with another key is refused."""
    settings: TrainingConfig
    """With every `auto` resolved."""
    model: TokenLosses
    objective: Objective
    objective_name: str
    stream: BatchStream
    reference: ReferenceLosses | None
    """What losses are scored against; None where the objective scores nothing."""
    lagged: bool
    """Whether a batch is weighted with the weights from before it (one forward pass however it is split)."""
    validation: ValidationSet
    domains: DomainSet


def learning_rate(step: int, settings: TrainingConfig) -> float:
    """Rate of step 1 .. steps: linear warm-up to the peak, then exponential decay (paper section 3.1)."""
    warm = math.ceil(settings.warmup * settings.steps)
    if step <= warm:
        return settings.learning_rate * step / warm
    progress = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * settings.final_learning_rate**progress


def make_optimizer(module: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW or Adafactor; only matrices decay."""
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    vectors = [p for p in module.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if settings.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), fused=True)


def forward_pass(
    model: nn.Module, settings: TrainingConfig, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """`model` under the chosen precision and compiler, static shapes."""
    called = torch.compile(model, dynamic=False) if settings.compile is True else model
    if settings.precision == "float32":
        return called

    def forward(input_BT: Tensor, label_BT: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return called(input_BT, label_BT)

    return forward


@dataclass(frozen=True)
class DeviceBatch:
    """A micro-batch on the device; `loss_BT` and `reference_BT` follow once they are computed."""

    input_BT: Tensor
    label_BT: Tensor
    mask_BT: Tensor
    domain_B: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> DeviceBatch:
        tensors = [torch.from_numpy(a).to(device) for a in (batch.input_BT, batch.label_BT, batch.domain_B)]
        return cls(tensors[0], tensors[1], torch.ones_like(tensors[0], dtype=torch.bool), tensors[2])


class Trainer:
    """The moving parts of one training: model, optimiser, objective, log."""

    def __init__(self, job: Job, world: World, watch: Watch) -> None:
        self.job, self.world, self.watch = job, world, watch
        self.settings, self.k, self.scored = job.settings, len(job.domains), job.reference is not None
        self.model = job.model.to(world.device).train()
        self.wrapped = world.wrap(self.model, self.settings.parallel)
        self.sharded = is_sharded(self.model)
        self.optimizer = make_optimizer(self.model, self.settings)
        self.forward = forward_pass(self.wrapped, self.settings, world.device)
        self.evaluating = forward_pass(self.model, self.settings, world.device)
        self.metrics = MetricsWriter(job.folder, job.domains, job.objective_name)
        self.pending: list[Tensor] = []
        """Rows of the trace, on the device, since the last line of the log."""

    # -- one step ------------------------------------------------------------------------------------------------

    def forward_backward(self, batches: list[DeviceBatch]) -> Tensor:
        """Losses, update of the weights, gradients; returns sums of loss and token counts by domain `[2, K]`."""
        lagged, token_weight_K = self.job.lagged, None
        if lagged or not self.scored:  # what a token counts is known before the batch is
            count_K = torch.stack([self._counts(batch) for batch in batches]).sum(dim=0)
            token_weight_K = self.job.objective.token_weights(self.world.sum(count_K))
        elif len(batches) > 1:  # score the whole global batch first, so that every micro-batch sees the same weights
            with torch.no_grad(), eval_mode(self.model):
                sums = [self._sums(batch, self.forward(batch.input_BT, batch.label_BT)) for batch in batches]
            token_weight_K = self._update(torch.stack(sums).sum(dim=0))
        losses_2K = torch.zeros(2, self.k, dtype=torch.float64, device=self.world.device)
        sums_2K = torch.zeros_like(losses_2K)
        for number, batch in enumerate(batches):
            with self.world.gradients_shared(self.wrapped, last=number == len(batches) - 1):
                loss_BT = self.forward(batch.input_BT, batch.label_BT)
                if token_weight_K is None:
                    token_weight_K = self._update(self._sums(batch, loss_BT))
                elif lagged:
                    sums_2K += self._sums(batch, loss_BT)
                # gradients are averaged over processes: the factor makes that a sum
                loss = weighted_loss(loss_BT, batch.mask_BT, batch.domain_B, token_weight_K)
                (loss * self.world.size).backward()
            losses_2K[0] += sum_by_domain(loss_BT, batch.mask_BT, batch.domain_B, self.k)
            losses_2K[1] += self._counts(batch)
        if lagged:
            self._update(sums_2K)
        return self.world.sum(losses_2K)

    def _counts(self, batch: DeviceBatch) -> Tensor:
        return sum_by_domain(torch.ones_like(batch.mask_BT, dtype=torch.float32), batch.mask_BT, batch.domain_B, self.k)

    def _sums(self, batch: DeviceBatch, loss_BT: Tensor) -> Tensor:
        assert self.job.reference is not None
        reference_BT = self.job.reference(batch.input_BT, batch.label_BT)
        return self.job.objective.sums(loss_BT, reference_BT, batch.mask_BT, batch.domain_B)

    def _update(self, sums_2K: Tensor) -> Tensor:
        sums_2K = self.world.sum(sums_2K)
        self.job.objective.update(sums_2K)
        return self.job.objective.token_weights(sums_2K[1])

    def optimizer_step(self, step: int) -> Tensor:
        """Clip, set this step's rate, step; returns the gradient's norm."""
        norm = plain(nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.settings)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    # -- log -----------------------------------------------------------------------------------------------------

    def record(self, step: int, losses_2K: Tensor, norm: Tensor) -> None:
        """Keep this step's row on the device."""
        head = torch.tensor([step, learning_rate(step, self.settings)], dtype=torch.float64, device=self.world.device)
        none_K = torch.full((self.k,), math.nan, dtype=torch.float64, device=self.world.device)
        state = self.job.objective.state_dict()
        weights_K, scores_K = (state.get(name, none_K).to(none_K) for name in ("alpha_K", "lam_K"))
        loss_K = losses_2K[0] / losses_2K[1]
        self.pending.append(torch.cat([head, norm.double().reshape(1), loss_K, losses_2K[1], weights_K, scores_K]))

    def flush_log(self) -> None:
        """Write the rows kept so far; `TrainingError` if one is not finite."""
        if not self.pending:
            return
        rows = torch.stack(self.pending).cpu().numpy()
        self.pending = []
        self._check_finite(rows)
        record = self._train_record(rows)
        self.watch.record(record)
        if self.world.is_main:
            self.metrics.rows(rows, record)

    def _check_finite(self, rows: np.ndarray) -> None:
        loss, tokens = rows[:, 3 : 3 + self.k], rows[:, 3 + self.k : 3 + 2 * self.k]
        bad = ~np.isfinite(np.where(tokens > 0, loss, 0.0))
        bad_rows = np.flatnonzero(bad.any(axis=1) | ~np.isfinite(rows[:, 2]))
        if not bad_rows.size:
            return
        row = bad_rows[0]
        names = [name for name, is_bad in zip(self.job.domains, bad[row], strict=True) if is_bad]
        what = f"the loss of domain {names[0]!r} is" if names else "the gradient is"
        more = f" (and of {len(names) - 1} more)" if len(names) > 1 else ""
        raise TrainingError(
            f"{self.job.folder}: at step {int(rows[row, 0])} {what} not finite{more}; lower training.learning_rate "
            f"(now {self.settings.learning_rate:g}) or training.gradient_clip; the last good checkpoint is kept"
        )

    def _train_record(self, rows: np.ndarray) -> dict[str, Any]:
        k, last = self.k, rows[-1]
        loss, tokens = rows[:, 3 : 3 + k], rows[:, 3 + k : 3 + 2 * k]
        total = tokens.sum(axis=0)
        nats = np.where(tokens > 0, loss * tokens, 0.0).sum(axis=0)
        return {
            "tokens": self.tokens_after(int(last[0])),
            "loss": float(nats.sum() / total.sum()),
            "learning_rate": float(last[1]),
            "gradient_norm": float(last[2]),
            "domain_loss": [float(n / t) if t else None for n, t in zip(nats, total, strict=True)],
            "domain_tokens": [int(t) for t in total],
            "weights": last[3 + 2 * k : 3 + 3 * k].tolist() if self.scored else None,
            "average_weights": self.job.objective.average_weights.tolist() if self.scored else None,
            "scores": last[3 + 3 * k :].tolist() if self.scored else None,
        }

    def tokens_after(self, step: int) -> int:
        """Tokens trained on in the first `step` steps."""
        return step * self.settings.batch_size * self.job.stream.sequence_length

    # -- evaluate ------------------------------------------------------------------------------------------------

    def evaluate(self, step: int) -> tuple[np.ndarray, dict[str, dict[str, Any]]]:
        """Nats of each validation document, and the summary; a line of the log."""
        with eval_mode(self.model):
            nats = self.job.validation.nats(self.evaluating, self.world)
        if not np.isfinite(nats).all():
            raise TrainingError(
                f"{self.job.folder}: at step {step} the validation loss is not finite; lower training.learning_rate"
            )
        summary = self.job.validation.summary(nats)
        short = {split: {key: value[key] for key in ("loss", "bits_per_byte")} for split, value in summary.items()}
        if self.world.is_main:
            self.metrics.evaluation(step, self.tokens_after(step), short)
        return nats, summary

    # -- save and restore ----------------------------------------------------------------------------------------

    def save(self, step: int) -> None:
        """A checkpoint of everything; rows not yet logged go with it, so that a resumed log has the same lines."""
        tensors = checkpoint.training_tensors(self.model, self.optimizer, self.world.device)
        state: dict[str, Any] = {"key": self.job.key, "objective": {}}
        for name, value in self.job.objective.state_dict().items():
            if isinstance(value, Tensor):
                tensors[f"objective.{name}"] = value
            else:
                state["objective"][name] = value
        if self.pending:
            self._check_finite(torch.stack(self.pending).cpu().numpy())
            tensors["pending"] = torch.stack(self.pending)
        if self.world.is_main:
            self.metrics.flush()
        checkpoint.save(self.job.folder / "checkpoint", step, tensors, state, self.world, sharded=self.sharded)

    def restore(self) -> int:
        """Go back to the newest checkpoint; returns its step, 0 if there is none."""
        folder = self.job.folder / "checkpoint"
        found = checkpoint.latest(folder, self.watch.say, self.world)
        if found is not None and found.state["key"] != self.job.key:
            self.watch.say(f"{self.job.folder}: its checkpoints are of other settings or data; starting over")
            self.world.barrier()  # every process has read them
            if self.world.is_main:
                checkpoint.remove(folder)
            found = None
        if found is not None:
            rest = checkpoint.restore_tensors(found.folder, self.model, self.optimizer, self.world.device)
            tensors = {n.removeprefix("objective."): t for n, t in rest.items() if n.startswith("objective.")}
            self.job.objective.load_state_dict({**tensors, **found.state["objective"]})
            self.pending = list(rest["pending"].to(self.world.device)) if "pending" in rest else []
        step = found.step if found else 0
        if self.world.is_main:  # the last step is evaluated after its checkpoint, all others before
            evaluated = step if step < self.settings.steps else step - 1
            self.metrics.cut_back(logged=step - len(self.pending), evaluated=evaluated)
        self.world.barrier()
        return step


def train(job: Job, world: World, watch: Watch) -> None:
    """Train to the end, from the newest checkpoint on, and write the final evaluation. Rerunning is harmless.

    `PeerError` if another process is lost.
    """
    with world.guard():
        _train(job, world, watch)


def _train(job: Job, world: World, watch: Watch) -> None:
    trainer = Trainer(job, world, watch)
    settings = job.settings
    for step in range(trainer.restore() + 1, settings.steps + 1):
        # -- fetch ---------------------------------------------------------------------------
        batches = [DeviceBatch.of(batch, world.device) for batch in job.stream.micro_batches(step - 1)]

        # -- losses, update of the weights, backward -------------------------------------------
        losses_2K = trainer.forward_backward(batches)

        # -- step ------------------------------------------------------------------------------
        norm = trainer.optimizer_step(step)

        # -- log -------------------------------------------------------------------------------
        trainer.record(step, losses_2K, norm)
        if step % settings.log_every == 0 or step == settings.steps:
            trainer.flush_log()
        watch.step(step, settings.steps, trainer.tokens_after(step))

        # -- evaluate --------------------------------------------------------------------------
        if step % int(settings.evaluate_every) == 0 and step < settings.steps:
            trainer.evaluate(step)

        # -- save ------------------------------------------------------------------------------
        stop = world.any(watch.stop_requested())
        if step % int(settings.checkpoint_every) == 0 or step == settings.steps or stop:
            trainer.save(step)
        if stop:
            raise Interrupted(f"stopped after step {step} of {settings.steps}; the same command goes on from there")
    nats, summary = trainer.evaluate(settings.steps)
    if world.is_main:
        trainer.metrics.flush()
        checkpoint.keep_last(job.folder / "checkpoint")
        write_evaluation(job.folder, settings.steps, job.domains, nats, summary)


def write_evaluation(folder: Path, step: int, domains: DomainSet, nats: np.ndarray, summary: Mapping[str, Any]) -> None:
    """evaluation.documents.f64 and evaluation.json (docs/formats.md)."""
    write_bytes(folder / "evaluation.documents.f64", nats.astype("<f8").tobytes())
    write_json(folder / "evaluation.json", {"format": 1, "step": step, "domains": list(domains), **summary})
