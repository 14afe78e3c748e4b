"""How models are trained."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from doremi.config.neutral import Neutral
from doremi.config.reach import TRAININGS, Reaches
from doremi.config.section import Section

Auto = Literal["auto"]


class TrainingConfig(Section):
    """How models are trained. It is the same for reference, proxy and main models, as in the paper (section 2)."""

    reaches: ClassVar[Reaches] = Reaches(*TRAININGS)

    steps: int = Field(default=1000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1)
    """Sequences in a global batch (one optimiser step)."""
    accumulation: Annotated[int | Auto, Reaches()] = 1
    """Micro-batches that a batch is split into. The result does not depend on it. `auto` takes the largest micro-batch
    that fits into a GPU's memory by arithmetic, and halves it where it does not fit after all. On a CPU it is 1."""
    recompute: Annotated[Literal["none", "attention", "block", "auto"], Reaches()] = "auto"
    """Activations that are computed again in the backward pass, to save memory. `block` takes about a third more time.
    The result does not depend on it. `auto` is none where that fits into a GPU's memory, and else block."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """With several processes, `ddp` keeps a whole model on each. `fsdp` (FSDP2) splits its parameters, gradients and
    optimiser state over them. In float32 the result does not depend on it. In bfloat16 it rounds elsewhere."""
    shard_size: Annotated[int | None, Reaches()] = Field(default=None, ge=1)
    """With fsdp, processes that one copy of a model is split over, such as those of one machine. The copies are then
    kept alike, as with ddp. Default is all processes."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """The paper used Adafactor for all its runs."""
    learning_rate: Annotated[float, Field(gt=0)] | Auto = 1e-3
    """Peak learning rate. `auto` is 0.0076 at a width of 96, and falls with the width to the power of 1.5, so that each
    size has its own. It was measured from 0.1m to 3m, with small batches (docs/results/recipe.md)."""
    learning_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Peak learning rates of single sizes of model, where they need another. `doremi tune` finds them."""
    schedule: Annotated[Literal["exponential", "linear", "cosine"], Neutral("exponential")] = "exponential"
    """How the learning rate falls after its peak. The paper has an exponential decay."""
    final_learning_rate: Annotated[float, Neutral(0.1)] = Field(default=0.1, ge=0, le=1)
    """Last learning rate, as a share of the peak. 0 needs a linear or cosine schedule."""
    warmup: Annotated[float, Neutral(0.06)] = Field(default=0.06, ge=0, lt=1)
    """Share of the steps in which the learning rate rises linearly. Short trainings of small models need much of it."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, on matrices only."""
    beta1: Annotated[float, Neutral(0.9)] = Field(default=0.9, ge=0, lt=1)
    """AdamW's first decay rate."""
    beta2: Annotated[float, Neutral(0.99)] = Field(default=0.99, ge=0, lt=1)
    """AdamW's second decay rate."""
    initial_spread: Annotated[float, Neutral(1.0)] = Field(default=1.0, gt=0)
    """Spread of a model's first weights, as a multiple of its architecture's own. That is made for wide models."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest global norm of the gradient."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 is autocast over float32 weights. `auto` uses it where the device has fast units for it."""
    compile: bool | Auto = "auto"
    """Use torch.compile. `auto` does so where the run is long enough to make up for the warm-up. What it makes is kept
    in doremi/compiled of your cache folder (~/.cache), unless TORCHINDUCTOR_CACHE_DIR names another."""
    deterministic: Annotated[bool | Auto, Neutral(False)] = "auto"
    """On a GPU, whether a training repeats to the byte. Kernels that add in any order are then not used. `auto` is
    true where that costs less than a tenth of a step. It is measured before a run's first training and recorded.
    Without effect on a CPU, where trainings always repeat."""
    threads: int | Auto = "auto"
    """CPU threads of one training. `auto` divides the cores by the trainings at once. On a GPU it takes two at most."""
    evaluate_every: int | Auto = "auto"
    """Steps between evaluations. `auto` is a tenth of the run, or more where evaluating would take over a fifth."""
    checkpoint_every: Annotated[int | Auto, Reaches()] = "auto"
    """Steps between checkpoints. `auto` is about ten minutes. There is always one at the end. On a GPU large ones are
    written while the training goes on."""
    timeout: Annotated[float, Reaches()] = Field(default=600, gt=0)
    """Seconds that processes wait for one another before the run ends and says which one hangs."""
    log_every: Annotated[int, Reaches()] = Field(default=10, ge=1)
    """Steps between lines of metrics.jsonl."""

    def __hash__(self) -> int:  # pydantic's own fails on a setting that is a dictionary
        return hash(self.model_dump_json())

    @field_validator("accumulation", "threads", "evaluate_every", "checkpoint_every")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or auto")
        return value

    @model_validator(mode="after")
    def _falls_to_zero(self) -> TrainingConfig:
        if self.schedule == "exponential" and self.final_learning_rate == 0:
            raise ValueError("an exponential schedule never reaches 0: use schedule linear, or a final_learning_rate")
        return self

    @model_validator(mode="after")
    def _micro_batches(self) -> TrainingConfig:
        if isinstance(self.accumulation, int) and self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of accumulation {self.accumulation}")
        if self.shard_size is not None and self.parallel != "fsdp":
            raise ValueError("shard_size says how fsdp splits a model: set parallel to fsdp, or leave it out")
        return self
