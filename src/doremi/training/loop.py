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
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from doremi.config import TrainingConfig
from doremi.corpus.loader import BatchStream
from doremi.diagnostics import settled
from doremi.distributed import World, is_sharded, plain
from doremi.errors import Interrupted, TrainingError, one_line
from doremi.evaluation.perplexity import ValidationSet
from doremi.events.stream import Watch
from doremi.files import write_bytes, write_json
from doremi.mixture.domains import DomainSet
from doremi.model.build import TokenLosses, eval_mode
from doremi.objectives.dro import sum_by_domain, weighted_loss
from doremi.objectives.objective import Objective
from doremi.rundir.layout import TrainingFolder
from doremi.training import checkpoint, compiling
from doremi.training.batches import DeviceBatch, steps_of
from doremi.training.log import About, TrainingLog
from doremi.training.memory import keep_freed_memory
from doremi.training.optimizer import make_optimizer
from doremi.training.peak import device_rate
from doremi.training.reference_losses import ReferenceLosses
from doremi.training.save_times import SaveTimes
from doremi.training.saver import Saver
from doremi.training.sums import counts, score_error, scored_sums

GRAPHS_TRIED = 4  # steps: the compiler warms up, makes its CUDA graphs and plays them back


@dataclass(frozen=True)
class Job:
    """One model to train."""

    folder: Path
    name: str
    """What it is called in messages."""
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
    validation: ValidationSet
    domains: DomainSet
    epoch_tokens: list[int]
    """Training tokens of each domain, `[K]`."""
    operations: int | None = None
    """Matrix operations that a step needs, forward and backward; None where they cannot be counted."""
    until_settled: bool = False
    """Whether it ends before `settings.steps` if, at an evaluation, the averaged weights have settled."""

    def __post_init__(self) -> None:
        if (self.objective.scoring is None) != (self.reference is None):
            raise ValueError(f"{self.folder}: a reference is given where the objective scores, and only there")


def learning_rate(step: int, settings: TrainingConfig) -> float:
    """Rate of step 1 .. steps: linear warm-up to the peak, then down to the last rate along the schedule's curve.

    The exponential one is the paper's (section 3.1).
    """
    warm, peak = math.ceil(settings.warmup * settings.steps), float(settings.learning_rate)
    if step <= warm:
        return peak * step / warm
    progress = (step - warm) / max(1, settings.steps - warm)
    if settings.schedule == "exponential":
        return peak * settings.final_learning_rate**progress
    left = 1 - progress if settings.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    last = settings.final_learning_rate
    return peak * (last + (1 - last) * left)


def forward_pass(
    model: nn.Module, settings: TrainingConfig, device: torch.device, *, graphs: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """`model` under the chosen precision and compiler, static shapes; `graphs`: as CUDA graphs.

    One in shards has its precision from them.
    """
    called = compiling.compiled(model, graphs=graphs) if settings.compile is True else model
    if settings.precision == "float32" or is_sharded(model):
        return called

    def forward(input_BT: Tensor, label_BT: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return called(input_BT, label_BT)

    return forward


class Trainer:
    """The moving parts of one training: model, optimiser, objective, log."""

    def __init__(self, job: Job, world: World, watch: Watch) -> None:
        self.job, self.world = job, world
        if world.device.type == "cpu":
            keep_freed_memory()
        self.settings, self.k = job.settings, len(job.domains)
        self.step = 0
        """The step that is being made."""
        self.model = job.model.to(world.device).train()
        self.wrapped = world.wrap(self.model)
        self.sharded = is_sharded(self.model)
        self.spread_3K = torch.zeros(3, self.k, dtype=torch.float64, device=world.device)
        self.optimizer = make_optimizer(self.model, self.settings)
        compiles, on_card = self.settings.compile is True, world.device.type == "cuda"
        alone = world.size == 1 and self.settings.accumulation == 1 and not compiling.by_block(self.model)
        self.graphs = compiling.CUDA_GRAPHS and compiles and on_card and alone
        self.graphs_made, self.told = 0, False
        fuses = compiling.COMPILE_SUMS and compiles and on_card
        self.counts, self.scored_sums = compiling.fused(counts, fuses), compiling.fused(scored_sums, fuses)
        self.loss_sums, self.score_error = compiling.fused(sum_by_domain, fuses), compiling.fused(score_error, fuses)
        self.forward = forward_pass(self.wrapped, self.settings, world.device, graphs=self.graphs)
        self.evaluating = forward_pass(self.model, self.settings, world.device)
        about = About(
            name=job.name,
            key=job.key,
            steps=job.settings.steps,
            domains=job.domains,
            objective=job.objective_name,
            columns=job.objective.logs,
            tokens_per_step=job.settings.batch_size * job.stream.sequence_length,
            epoch_tokens=job.epoch_tokens,
            operations=job.operations,
            peak=None if (rate := device_rate(world.device, self.settings.precision)) is None else rate * world.size,
        )
        self.log = TrainingLog(job.folder, about, world, watch)
        self.saver = Saver(job.folder / "checkpoint", world, sharded=self.sharded)

    # -- one step ------------------------------------------------------------------------------------------------

    def forward_backward(self, batches: list[DeviceBatch]) -> Tensor:
        """Losses, update of the weights, gradients; sums by domain `[5, K]`: loss, tokens and `spread_sums`."""
        if not self.graphs:
            return self._forward_backward(batches)
        torch.compiler.cudagraph_mark_step_begin()
        self.graphs_made += 1
        if self.graphs_made > GRAPHS_TRIED:
            return self._forward_backward(batches)
        before = self.job.objective.state_dict()
        try:
            return self._forward_backward(batches)
        except RuntimeError as error:  # whatever CUDA graphs cannot do shows while they are made
            self.log.say(f"remark: {self.job.name}: goes on without CUDA graphs ({one_line(str(error))[:200]})")
        self.graphs = False
        self.forward = forward_pass(self.wrapped, self.settings, self.world.device)
        self.job.objective.load_state_dict(before)
        self.optimizer.zero_grad()
        return self._forward_backward(batches)

    def _forward_backward(self, batches: list[DeviceBatch]) -> Tensor:
        objective, token_weight_K = self.job.objective, None
        moved_after = objective.weighs_ahead and objective.scoring is not None
        self.spread_3K.zero_()
        if objective.weighs_ahead:
            count_K = torch.stack([self._counts(batch) for batch in batches]).sum(dim=0)
            token_weight_K = objective.token_weights(self.world.sum(count_K))
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
                elif moved_after:
                    sums_2K += self._sums(batch, loss_BT)
                # gradients are averaged over processes: the factor makes that a sum
                loss = weighted_loss(loss_BT, batch.mask_BT, batch.domain_B, token_weight_K)
                (loss * self.world.size).backward()
            losses_2K[0] += self.loss_sums(loss_BT.detach(), batch.mask_BT, batch.domain_B, self.k)
            losses_2K[1] += self._counts(batch)
        if moved_after:
            self._update(sums_2K)
        return self.world.sum(torch.cat([losses_2K, self.spread_3K]))

    def _counts(self, batch: DeviceBatch) -> Tensor:
        return self.counts(batch.mask_BT, batch.domain_B, self.k)

    def _sums(self, batch: DeviceBatch, loss_BT: Tensor) -> Tensor:
        scoring, reference, reference_BT = self.job.objective.scoring, self.job.reference, batch.reference_BT
        assert scoring is not None
        if reference_BT is None:
            assert reference is not None
            reference_BT = reference(batch.input_BT, batch.label_BT)
        sums_5K = self.scored_sums(scoring.sums, loss_BT.detach(), reference_BT, batch.mask_BT, batch.domain_B, self.k)
        self.spread_3K += sums_5K[:3]
        return sums_5K[3:]

    def _update(self, sums_2K: Tensor) -> Tensor:
        assert self.job.objective.scoring is not None
        sums_2K = self.world.sum(sums_2K)
        try:
            self.job.objective.scoring.update(sums_2K)
        except ValueError:  # on a CPU; of a GPU the log tells it when it is written
            bad_K = ~sums_2K.isfinite().all(dim=0)
            names = [self.job.domains.names[k] for k in bad_K.nonzero().flatten()]
            raise self.log.not_finite(names, self.step, learning_rate(self.step, self.settings)) from None
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

    def record(self, step: int, sums_5K: Tensor, norm: Tensor) -> None:
        """Keep this step's row on the device; a column that this training does not have is NaN."""
        objective = self.job.objective
        row = dict.fromkeys(self.log.writer.columns, torch.full_like(sums_5K[0], math.nan))
        row |= {"loss": sums_5K[0] / sums_5K[1], "tokens": sums_5K[1], **objective.columns()}
        if objective.scoring is not None:
            row["reference_loss"] = sums_5K[4] / sums_5K[1]
        if objective.scores_clipped_excess:
            row["score_error"] = self.score_error(sums_5K, self.job.stream.sequence_length)
        self.log.row(step, learning_rate(step, self.settings), norm, row)

    def flush_log(self) -> None:
        """Write the rows kept so far; `TrainingError` if one is not finite."""
        self.log.flush(self.job.objective.average_weights)
        self._tell_what_is_not_compiled()

    def _tell_what_is_not_compiled(self) -> None:
        """Once, that a training is slower than it was meant to be."""
        if self.told or self.settings.compile is not True:
            return
        if self.model.eager_calls:
            self.log.say(f"warning: {self.job.name}: the compiler gave up on a part of it, which is slower so")
            self.told = True
        elif self.graphs and compiling.graphs_skipped():
            self.log.say(f"remark: {self.job.name}: the compiler makes no CUDA graphs of it")
            self.told = True

    # -- evaluate ------------------------------------------------------------------------------------------------

    def evaluate(self, step: int, *, last: bool = False) -> tuple[np.ndarray, dict[str, dict[str, Any]]]:
        """Nats of each validation document, and the summary; a line of the log."""
        with eval_mode(self.model):
            nats = self.job.validation.nats(self.evaluating, self.world)
        if not np.isfinite(nats).all():
            raise TrainingError(
                f"{self.job.folder}: at step {step} the validation loss is not finite; lower training.learning_rate"
            )
        summary = self.job.validation.summary(nats)
        self.log.evaluation(step, summary, last=last)
        return nats, summary

    # -- is it done? ---------------------------------------------------------------------------------------------

    def is_last(self, step: int) -> bool:
        """Whether the training ends with this step: all are done, or the averaged weights have settled."""
        if step >= self.settings.steps:
            return True
        if not self.job.until_settled or step == 0 or step % int(self.settings.evaluate_every):
            return False
        self.flush_log()
        weights_TK = TrainingFolder(self.job.folder).trace()["weights"] if self.world.is_main else None
        return self.world.any(weights_TK is not None and settled.judge(weights_TK).settled)

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
        if self.log.pending:
            tensors["pending"] = self.log.finite_rows()
        if self.world.is_main:
            self.log.writer.flush()
        self.saver.save(step, tensors, state)

    def restore(self) -> int:
        """Go back to the newest checkpoint; returns its step, 0 if there is none."""
        folder = self.job.folder / "checkpoint"
        found = checkpoint.latest(folder, self.log.say, self.world)
        if found is not None and found.state["key"] != self.job.key:
            self.log.say(f"{self.job.folder}: its checkpoints have other settings or data. Starting over.")
            self.world.barrier()  # every process has read them
            if self.world.is_main:
                checkpoint.remove(folder)
            found = None
        if found is not None:
            rest = checkpoint.restore_tensors(found.folder, self.model, self.optimizer, self.world.device)
            tensors = {n.removeprefix("objective."): t for n, t in rest.items() if n.startswith("objective.")}
            self.job.objective.load_state_dict({**tensors, **found.state["objective"]})
            self.log.put_back(rest.get("pending"))
        step = found.step if found else 0
        self.log.cut_back(step, self.settings.steps)
        self.world.barrier()
        return step


def train(job: Job, world: World, watch: Watch) -> int:
    """Train to the end, from the newest checkpoint on, and write the final evaluation; returns the last step.

    Rerunning is harmless. `PeerError` if another process is lost.
    """
    with world.guard():
        return _train(job, world, watch)


def _train(job: Job, world: World, watch: Watch) -> int:
    trainer = Trainer(job, world, watch)
    with trainer.saver:
        step = _steps(trainer, job, world, watch)
        nats, summary = trainer.evaluate(step, last=True)
    if world.is_main:
        trainer.log.writer.flush()
        checkpoint.keep_last(job.folder / "checkpoint")
        write_evaluation(job.folder, step, job.domains, nats, summary)
    return step


def _steps(trainer: Trainer, job: Job, world: World, watch: Watch) -> int:
    """All steps that are left; the last one's number."""
    settings = job.settings
    step = trainer.restore()
    last = trainer.is_last(step)
    if last and step:  # its final evaluation, which comes after its checkpoint, may be there already
        trainer.log.cut_back(step, step)
    trainer.log.began(step)
    times = SaveTimes(settings.checkpoint_every)
    steps = steps_of(job.stream, job.reference, world.device, step)
    while not last:
        step += 1
        # -- fetch ---------------------------------------------------------------------------
        batches = next(steps)

        # -- losses, update of the weights, backward -------------------------------------------
        trainer.step = step
        losses_2K = trainer.forward_backward(batches)

        # -- step ------------------------------------------------------------------------------
        norm = trainer.optimizer_step(step)

        # -- log -------------------------------------------------------------------------------
        trainer.record(step, losses_2K, norm)
        last = trainer.is_last(step)
        if step % settings.log_every == 0 or last:
            trainer.flush_log()
        trainer.log.stepped(step)

        # -- evaluate --------------------------------------------------------------------------
        if step % int(settings.evaluate_every) == 0 and not last:
            trainer.evaluate(step)

        # -- save ------------------------------------------------------------------------------
        asked = watch.stop_requested()
        stop, due, busy = world.any_of(asked, world.is_main and times.due(step), trainer.saver.is_writing())
        if due or last or stop:
            trainer.save(step)
            times.saved()
        elif not busy:
            trainer.saver.finish()
        if stop:
            trainer.saver.finish()
            raise Interrupted(f"stopped after step {step} of {settings.steps}. Run the same command to resume.")
    return step


def write_evaluation(folder: Path, step: int, domains: DomainSet, nats: np.ndarray, summary: Mapping[str, Any]) -> None:
    """evaluation.documents.f64 and evaluation.json (docs/formats.md)."""
    write_bytes(folder / "evaluation.documents.f64", nats.astype("<f8").tobytes())
    write_json(folder / "evaluation.json", {"format": 1, "step": step, "domains": list(domains), **summary})
