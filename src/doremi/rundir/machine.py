"""Where a run's trainings are done, as far as their bytes depend on it; and what `auto` means there.

**What bit-identical means.** A training has the same bytes wherever it runs again with the same kind of device, version
of torch, number of threads and number of processes. The threads are part of a training's key: a gradient's last bits
differ between one thread and two. They are recorded here before the first training, and used wherever a training of
this run is done, also where fewer cores are free. Between numbers of processes the tolerances of docs/scaling.md hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from doremi.config import RunConfig, TrainingConfig

# On a CPU the compiler saves 0 to 22 % of a step for a warm-up of 20 to 39 s, which is earned back after 3 minutes of
# training (0.3m), 8 to 13 (1m) or 30 (3m); the trainings of a tournament share it (docs/results/speed.md).
COMPILE_AFTER_SECONDS = 1200
COMPILE_AFTER_STEPS = 500  # on a GPU
CARD_THREADS = 2  # of a training on a GPU: its host only launches, and more threads get in each other's way
DETERMINISTIC_WITHIN = 0.10  # of a step: what a repeat to the byte may cost on a GPU
CPU_FLOPS_PER_CORE = 2e10  # float32, a small model, measured with benchmarks/steps.py; only decides on `compile`


@dataclass(frozen=True)
class Machine:
    """Facts that are recorded once, before a run's first training."""

    device: str
    """cpu or cuda."""
    bfloat16: bool
    """Whether it has fast units for bfloat16."""
    cores: int
    """That the process could use."""
    threads: int
    """Of one process of a training, where `training.threads` is auto; on a GPU no more than `CARD_THREADS` are used."""
    device_memory: int | None = None
    """Bytes of the GPU that one training may take. How many logits it has at once follows from it, and so last bits."""
    processes: int = 1
    """That train together. The micro-batches of `training.accumulation: auto` follow from it."""
    deterministic_cost: float | None = None
    """Share by which a step of the proxy's model takes longer with kernels that keep an order, as measured on the GPU;
    None where that was not measured."""
    micro_batches: Mapping[str, int] = field(default_factory=dict)
    """At least, where `training.accumulation` is auto: of models that ran out of memory with fewer, by `counts_key`."""


@dataclass(frozen=True)
class Host:
    """What may be used now, where a command runs. Nothing of it is recorded, and no byte depends on it."""

    cores: int
    memory: int
    """Bytes that may still be taken."""
    devices: tuple[str, ...] = ()
    """GPUs, as CUDA_VISIBLE_DEVICES names them."""
    cores_of_one: int | None = None
    """Of the smallest machine, where the cores are those of several: a training goes on on one of them."""
    device_memory: int | None = None
    """Bytes of the smallest of the GPUs, where they are looked at."""


def resolved(config: RunConfig, machine: Machine, parameters: int) -> TrainingConfig:
    """The training settings with every `auto` replaced. `parameters`: of the proxy's model, embeddings included.

    It depends on nothing but its arguments, so that it gives the same on another day and for a longer training.
    """
    training = config.training
    update: dict[str, object] = {}
    if training.threads == "auto":
        update["threads"] = machine.threads if machine.device == "cpu" else min(machine.threads, CARD_THREADS)
    if training.precision == "auto":
        update["precision"] = "bfloat16" if machine.bfloat16 else "float32"
    if training.deterministic == "auto":
        update["deterministic"] = _is_cheap(machine)
    if training.compile == "auto":
        update["compile"] = _compiles(config, machine, parameters)
    if training.evaluate_every == "auto":
        update["evaluate_every"] = auto_evaluate_every(config)
    return training.model_copy(update=update)


def repeats(config: RunConfig, machine: Machine) -> str:
    """What the seed of a training promises where it is done again: its `bytes`, or its `distribution` alone."""
    asked = config.training.deterministic
    fixed = machine.device == "cpu" or (_is_cheap(machine) if asked == "auto" else asked)
    return "bytes" if fixed else "distribution"


def _is_cheap(machine: Machine) -> bool:
    """Whether a GPU keeps an order of additions where nobody has decided; what was not measured counts as cheap."""
    cost = machine.deterministic_cost
    return machine.device == "cuda" and (cost is None or cost < DETERMINISTIC_WITHIN)


def auto_evaluate_every(config: RunConfig) -> int:
    """Ten evaluations a training, but no more than take a fifth of its time, and at least two.

    A token that is only evaluated costs a third of one that is trained on; how many there are is not known before the
    corpus is, so the configured most is taken.
    """
    evaluation = len(config.domains) * config.data.validation_max_tokens / 3
    number = min(10, max(2, int(config.run_tokens / 5 / evaluation)))
    return max(1, config.training.steps // number)


def _compiles(config: RunConfig, machine: Machine, parameters: int) -> bool:
    """Whether one training is long enough to earn the compiler's warm-up back."""
    if machine.device == "cuda":
        return config.training.steps >= COMPILE_AFTER_STEPS
    flops = 6 * parameters * config.run_tokens
    return flops / (CPU_FLOPS_PER_CORE * machine.cores) > COMPILE_AFTER_SECONDS
