"""One run opened for work: its lock, its recorded configuration, its manifest, and what `auto` was resolved to."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from doremi.config import RunConfig, TrainingConfig, dump
from doremi.distributed import World
from doremi.errors import RunError
from doremi.files import FORMAT, key_of, read_json, write_bytes, write_json
from doremi.model.build import build, count_parameters
from doremi.model.presets import shape
from doremi.rundir import binding
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import LOCK, only_worker
from doremi.training.log import Watch

OURS = (LOCK, "config.yaml", "manifest.json")  # a run directory has the first from its first moment on
# On a CPU the compiler saves 0 to 22 % of a step for a warm-up of 20 to 39 s, which is earned back after 3 minutes of
# training (0.3m), 8 to 13 (1m) or 30 (3m); the trainings of a tournament share it (docs/results/speed.md).
COMPILE_AFTER_SECONDS = 1200
CPU_FLOPS_PER_CORE = 2e10  # float32, a small model, measured with benchmarks/steps.py; only decides on `compile`


@dataclass(frozen=True)
class Workspace:
    """A run directory that this process may write to."""

    config: RunConfig
    directory: RunDirectory
    world: World
    watch: Watch
    settings: TrainingConfig
    """config.training with every `auto` resolved."""
    own_model: bool = False
    """Whether a model of the user's joins the run, which leaves the run's own records as they are."""

    @property
    def root(self) -> Path:
        return self.directory.root

    def note_time(self, stage: str, seconds: float, **figures: float) -> None:
        """Append to timings.jsonl, the one place for wall-clock figures."""
        if self.world.is_main:
            with (self.root / "timings.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": stage, "seconds": round(seconds, 3), **figures}) + "\n")

    @contextlib.contextmanager
    def timed(self, stage: str, **figures: float) -> Iterator[None]:
        """Note how long the block took, if it ends well, and say in the status file that it runs."""
        self.status("running", stage)
        self.watch.stage(stage)
        start = time.monotonic()
        yield
        self.note_time(stage, time.monotonic() - start, **figures)

    def status(
        self, state: str, stage: str, message: str = "", exit_code: int | None = None, error: str | None = None
    ) -> None:
        """Write the status file; with an exit code the work has ended. `stage` is empty before the first.

        `error` is the name of the error's class, where one has ended it.
        """
        if self.world.is_main:
            value = {"format": FORMAT, "state": state, "stage": stage or "start", "message": message}
            value |= {"process": os.getpid(), "exit_code": exit_code, "error": error}
            write_json(self.directory.status_path(own_model=self.own_model), value)


@contextlib.contextmanager
def open_workspace(config: RunConfig, world: World, watch: Watch, *, own_model: bool = False) -> Iterator[Workspace]:
    """Lock the run directory, check that what is there is this configuration's (binding.py), and record it.

    `RunError` if another process works there, or if a result is there that was made with another configuration.

    With `own_model` the model and its training may differ from the recorded ones, which stay as they are: that is how
    a main model of another size joins a finished run.
    """
    directory = RunDirectory(config.root)
    if world.is_main:
        _make_or_recognise(directory.root)
    world.barrier()
    with only_worker(directory.root, watch.say) if world.is_main else contextlib.nullcontext():
        if world.is_main:
            binding.check(config, directory, own_model=own_model)
            _sweep(directory.root)
        joins = own_model and (directory.root / "manifest.json").exists() and any(binding.results(directory))
        settings = resolved(config, {} if own_model else recorded_choices(directory), world)
        torch.set_num_threads(int(settings.threads))
        if world.is_main and not joins:
            write_bytes(directory.root / "config.yaml", dump(config).encode())
            write_json(directory.root / "manifest.json", _manifest(config, directory, settings))
        world.barrier()
        yield Workspace(config, directory, world, watch, settings, own_model)


def _make_or_recognise(root: Path) -> None:
    """Create the run directory; a folder of someone's files, which the configuration may name, is left alone."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in root.iterdir()}
    except OSError as error:
        raise RunError(f"{root}: cannot be a run directory ({error.strerror}); change runs or name") from None
    if names and names.isdisjoint(OURS):
        raise RunError(f"{root}: holds files that are not a run of doremi; change runs or name, or empty the folder")


def _sweep(root: Path) -> None:
    """Remove what a killed process left under temporary names; nobody else works here, we hold the lock."""
    for path in list(root.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path)
        else:  # gone already if it lay in such a folder
            path.unlink(missing_ok=True)


# -- manifest and auto ------------------------------------------------------------------------------------------------


def _manifest(config: RunConfig, directory: RunDirectory, settings: TrainingConfig) -> dict[str, Any]:
    corpus = directory.corpus_folder / "manifest.json"
    return {
        "format": FORMAT,
        "config_key": key_of(config.model_dump(mode="json")),
        "fingerprint": read_json(corpus, "corpus manifest")["fingerprint"] if corpus.exists() else None,
        "versions": versions(),
        "commit": _commit(),
        "seed": config.seed,
        "resolved": settings.model_dump(
            mode="json", include={"precision", "compile", "threads", "evaluate_every", "checkpoint_every"}
        ),
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    from importlib.metadata import version

    names = ("doremi", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _commit() -> str | None:
    """Commit of the source tree that is running, or None for an installed package."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return None
    return found.stdout.strip() if found.returncode == 0 and "site-packages" not in str(here) else None


def recorded_choices(directory: RunDirectory) -> dict[str, Any]:
    """What `auto` was resolved to for the trainings that are there; nothing before the first."""
    path = directory.root / "manifest.json"
    known = path.exists() and any(binding.begun(directory))
    return read_json(path, "run manifest")["resolved"] if known else {}


def resolved(config: RunConfig, recorded: Mapping[str, Any], world: World) -> TrainingConfig:
    """Replace every `auto`: a run whose trainings have begun uses what was recorded, threads excepted."""
    training = config.training
    threads = max(1, available_cores() // world.local_size) if training.threads == "auto" else training.threads
    update: dict[str, Any] = {"threads": threads}
    if training.precision == "auto":
        update["precision"] = recorded.get("precision") or auto_precision(world.device)
    if training.compile == "auto":
        update["compile"] = recorded["compile"] if "compile" in recorded else auto_compile(config, world.device)
    if training.evaluate_every == "auto":
        update["evaluate_every"] = auto_evaluate_every(config)
    if training.checkpoint_every == "auto":
        update["checkpoint_every"] = max(20, training.steps // 20)
    return training.model_copy(update=update)


def auto_evaluate_every(config: RunConfig) -> int:
    """Ten evaluations a training, but no more than take a fifth of its time, and at least two.

    A token that is only evaluated costs a third of one that is trained on; how many there are is not known before the
    corpus is, so the configured most is taken.
    """
    evaluation = len(config.domains) * config.data.validation_max_tokens / 3
    number = min(10, max(2, int(config.run_tokens / 5 / evaluation)))
    return max(1, config.training.steps // number)


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def auto_precision(device: torch.device) -> str:
    """bfloat16 where matrix units for it exist: CUDA devices that support it, CPUs with AMX."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def auto_compile(config: RunConfig, device: torch.device) -> bool:
    """Whether one training is long enough to earn the compiler's warm-up back."""
    if device.type == "cuda":
        return config.training.steps >= 500
    with torch.device("meta"):
        lm = build(shape_of(config), config.data.vocab_size, config.data.sequence_length, 0)
    flops = 6 * count_parameters(lm)[1] * config.run_tokens
    return flops / (CPU_FLOPS_PER_CORE * available_cores()) > COMPILE_AFTER_SECONDS


def shape_of(config: RunConfig, size: str | None = None) -> dict[str, Any]:
    """The model's description: the run's own, or a preset named as a candidate's size."""
    if size is None or size == config.size_name:
        return shape(config.model.preset, config.model.architecture, config.model.options)
    return shape(size, None, {})
