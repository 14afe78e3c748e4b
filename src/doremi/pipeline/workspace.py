"""One run opened for work: its lock, its recorded configuration, and its manifest with the machine's facts."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from doremi.config import RunConfig, dump, read_yaml, validate
from doremi.credentials import masked
from doremi.distributed import World
from doremi.errors import ConfigError, Interrupted, RunError, one_line, reason_of
from doremi.events.event import Event, Failed, Finished, Started, Stopped
from doremi.events.stream import Watch
from doremi.files import FORMAT, read_json, write_bytes, write_json
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import LOCK, only_worker
from doremi.rundir.machine import Machine

OURS = (LOCK, "config.yaml", "manifest.json")  # a run directory has the first from its first moment on


@dataclass(frozen=True)
class Workspace:
    """A run directory that this process may write to."""

    config: RunConfig
    directory: RunDirectory
    world: World
    watch: Watch
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
        self._tell(Started(stage))
        start = time.monotonic()
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            self._tell(Stopped(stage))
            raise
        except Exception as error:
            self._tell(Failed(stage, one_line(reason_of(error))))
            raise
        seconds = time.monotonic() - start
        self.note_time(stage, seconds, **figures)
        self._tell(Finished(stage, seconds))

    def _tell(self, event: Event) -> None:
        if self.world.is_main:
            self.watch.emit(event)

    def status(
        self, state: str, stage: str, message: str = "", exit_code: int | None = None, error: str | None = None
    ) -> None:
        """Write the status file; with an exit code the work has ended. `stage` is empty before the first.

        `error` is the name of the error's class, where one has ended it.
        """
        if self.world.is_main:
            value = {"format": FORMAT, "state": state, "stage": stage or "start", "message": masked(message)}
            value |= {"process": os.getpid(), "exit_code": exit_code, "error": error}
            write_json(self.directory.status_path(own_model=self.own_model), value)


@contextlib.contextmanager
def open_workspace(config: RunConfig, world: World, watch: Watch, *, own_model: bool = False) -> Iterator[Workspace]:
    """Lock the run directory and record the configuration and the machine.

    `RunError` if another process works there, or if the folder is somebody else's.

    Whatever the configuration changes makes other trainings beside those that are there: nothing is refused, and no
    two states mix (graph.py). With `own_model` the recorded configuration stays: that is how a main model of another
    size joins a finished run.
    """
    directory = RunDirectory(config.root)
    if world.is_main:
        _make_or_recognise(directory.root)
    world.barrier()
    with only_worker(directory.root, watch.say) if world.is_main else contextlib.nullcontext():
        if world.is_main:
            _check_recorded(directory)
            _sweep(directory.root)
        joins = own_model and (directory.root / "config.yaml").exists()
        if world.is_main:
            manifest = _manifest(config, directory, world)
            if not joins:
                write_bytes(directory.root / "config.yaml", dump(config).encode())
            _tell_versions(directory, manifest, world, watch)
            write_json(directory.root / "manifest.json", manifest)
        world.barrier()
        yield Workspace(config, directory, world, watch, own_model)


def _check_recorded(directory: RunDirectory) -> None:
    """`RunError` for a folder whose configuration is none of ours: it may be another tool's, and is not replaced."""
    if (directory.root / "manifest.json").exists():
        read_json(directory.root / "manifest.json", "run manifest")  # refuses another format
    path = directory.root / "config.yaml"
    if path.exists():
        try:
            validate(read_yaml(path), str(path))
        except ConfigError as error:
            raise RunError(
                f"{error}; so this is no run of this doremi: change runs or name, or empty the folder"
            ) from None


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


# -- manifest --------------------------------------------------------------------------------------------------------


def _manifest(config: RunConfig, directory: RunDirectory, world: World) -> dict[str, Any]:
    held = directory.manifest() if (directory.root / "manifest.json").exists() else {}
    facts = held["machine"] if held and _has_trainings(directory) else asdict(this_machine(world))
    return {
        "format": FORMAT,
        "fingerprint": dict(held).get("fingerprint"),
        "versions": versions(),
        "commit": _commit(),
        "seed": config.seed,
        "machine": facts,
    }


def _has_trainings(directory: RunDirectory) -> bool:
    """Whether a training has begun: from then on the machine's facts stay as they are recorded."""
    return any((directory.root / "trainings").glob("*"))


def this_machine(world: World) -> Machine:
    """The facts that `auto` follows from, here."""
    cores = available_cores()
    return Machine(world.device.type, has_bfloat16(world.device), cores, max(1, cores // world.local_size))


def _tell_versions(directory: RunDirectory, manifest: Mapping[str, Any], world: World, watch: Watch) -> None:
    """Whoever goes on with another torch or on another kind of device is told: last digits will differ."""
    path = directory.root / "manifest.json"
    if not path.exists() or not _has_trainings(directory):
        return
    before, now = directory.manifest()["versions"].get("torch"), manifest["versions"]["torch"]
    device = manifest["machine"]["device"]
    if before != now:
        watch.say(f"warning: this run was begun with torch {before}, here is {now}. Last digits may differ.")
    if device != world.device.type:
        watch.say(f"warning: this run was begun on {device}, here is {world.device.type}. Digits will differ.")


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


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix units for bfloat16 exist: CUDA devices that support it, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
