"""One run opened for work: its lock, its recorded configuration, and its manifest with the machine's facts."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from doremi.config import RunConfig, dump, load_run, read_yaml, validate
from doremi.credentials import masked
from doremi.distributed import World
from doremi.errors import ConfigError, Interrupted, RunError, one_line, reason_of
from doremi.events.event import Event, Failed, Finished, Started, Stopped
from doremi.events.stream import Watch
from doremi.files import FORMAT, read_json, write_bytes, write_json
from doremi.lent import available_cores
from doremi.rundir.layout import RunDirectory
from doremi.rundir.lock import Taken
from doremi.rundir.locks import FOLDER as LOCKS
from doremi.rundir.locks import RUN, Locks
from doremi.rundir.machine import Machine, repeats

OURS = (f"{LOCKS}/{RUN}.lock", "config.yaml", "manifest.json")  # a run directory has the first from its first moment on


@dataclass(frozen=True)
class Workspace:
    """A run directory that this process may write to."""

    config: RunConfig
    directory: RunDirectory
    world: World
    watch: Watch
    locks: Locks
    """Taken by the main process only."""
    own_model: bool = False
    """Whether a model of the user's joins the run, which leaves the run's own records as they are."""
    tells_status: bool = True
    """Whether this process speaks for the command: its workers do not."""
    joins: bool = False
    """Whether somebody else may drive the run at the same time."""

    @property
    def root(self) -> Path:
        return self.directory.root

    def note_time(self, stage: str, seconds: float, **figures: float) -> None:
        """Append to timings.jsonl, the one place for wall-clock figures."""
        if self.world.is_main:
            with (self.root / "timings.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"stage": stage, "seconds": round(seconds, 3), **figures}) + "\n")

    def record_machine(self, machine: Machine) -> None:
        """Record where the run's trainings are done."""
        with self.locks.records():
            manifest = self.directory.manifest()
            told = {"machine": asdict(machine), "repeats": repeats(self.config, machine)}
            if {**manifest, **told} != manifest:
                write_json(self.root / "manifest.json", {**manifest, **told})

    def record_micro_batches(self, model: str, number: int) -> None:
        """Record that trainings of a model, by its `counts_key`, need so many at least. Others may record theirs."""
        with self.locks.records():
            manifest = self.directory.manifest()
            found = {**manifest["machine"].get("micro_batches", {}), model: number}
            machine = {**manifest["machine"], "micro_batches": dict(sorted(found.items()))}
            write_json(self.root / "manifest.json", {**manifest, "machine": machine})

    @contextlib.contextmanager
    def timed(self, stage: str, **figures: float) -> Iterator[dict[str, float]]:
        """Note how long the block took, if it ends well, and say in the status file that it runs.

        The block may add figures to those that it is given.
        """
        self.status("running", stage)
        self._tell(Started(stage))
        start = time.monotonic()
        try:
            yield figures
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

        `error` is the name of the error's class, where one has ended it. Beside a process that drives the run, a job
        leaves the file to that.
        """
        if (
            self.world.is_main
            and self.tells_status
            and (self.own_model or not self.joins or not self.locks.is_driven())
        ):
            value = {"format": FORMAT, "state": state, "stage": stage or "start", "message": masked(message)}
            value |= {"process": os.getpid(), "exit_code": exit_code, "error": error}
            write_json(self.directory.status_path(own_model=self.own_model), value)


@contextlib.contextmanager
def open_workspace(
    config: RunConfig, world: World, watch: Watch, *, own_model: bool = False, joins: bool = False
) -> Iterator[Workspace]:
    """Come to work in a run directory, and record the configuration and the machine.

    `RunError` if another process drives the run, if others work there with other settings, or if the folder is
    somebody else's. Who `joins` does a part beside others, and drives nothing.

    Whatever the configuration changes makes other trainings beside those that are there: nothing is refused, and no
    two states mix (graph.py). With `own_model` the recorded configuration stays: that is how a main model of another
    size joins a finished run.
    """
    directory, joins = RunDirectory(config.root), joins or own_model
    space = Workspace(
        config, directory, world, watch, Locks(directory.root, watch.say), own_model=own_model, joins=joins
    )
    with contextlib.ExitStack() as stack:
        world.on_main(lambda: _enter(space, stack))
        yield space


def _enter(space: Workspace, stack: contextlib.ExitStack) -> None:
    """What the main process does at the door. `stack` holds the locks."""
    _make_or_recognise(space.root)
    if not space.joins:
        stack.enter_context(space.locks.driver())
    others = _begin_alone(space)
    stack.enter_context(space.locks.shared(space.watch.stop_requested))
    with space.locks.records():
        _check_recorded(space.directory)
        _check_settings(space, others)
        _tell_versions(space)
        _record(space)


def _begin_alone(space: Workspace) -> Taken | None:
    """Settle in where nobody else works, which is known for this moment only; else who does."""
    try:
        with space.locks.alone():
            _check_recorded(space.directory)
            sweep(space.root)
            if not space.own_model:
                _write_config(space)
    except Taken as taken:
        return taken
    return None


def _check_settings(space: Workspace, others: Taken | None) -> None:
    """`RunError` where another process has come to work with other settings than ours."""
    if not (space.root / "config.yaml").exists():
        return
    if others is None and space.own_model:
        return
    recorded, ours = load_run(space.root), space.config
    # another machine may see the folder elsewhere, and who looks at the time of a step changes nothing
    place = {"name": recorded.name, "runs": recorded.runs, "profile": recorded.profile}
    same = recorded.data == ours.data if space.own_model else recorded == ours.model_copy(update=place)
    if not same and (space.root / "config.yaml").read_bytes() != dump(ours).encode():
        who, gone = (others.who, others.gone) if others else ("another process", "")  # it came after we were alone
        raise RunError(
            f"{space.root}: {who} is working here with other settings; wait for it, stop it, or use the settings in "
            f"config.yaml there{gone}"
        )


@contextlib.contextmanager
def joined(config: RunConfig, world: World, watch: Watch) -> Iterator[Workspace]:
    """The same run directory for a worker of a process that drives the run."""
    directory = RunDirectory(config.root)
    locks = Locks(directory.root, watch.say, joined=True)
    space = Workspace(config, directory, world, watch, locks, joins=True, tells_status=False)
    with space.locks.shared(watch.stop_requested):
        yield space


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


def check_place(directory: RunDirectory) -> None:
    """`RunError` where the folder cannot be a run directory, as far as can be seen without making it.

    A folder of another name is made beside it, and removed: some places, such as /proc, say that they can be written.
    """
    root = directory.root
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    with _as_run_directory(root):
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        Path(tempfile.mkdtemp(prefix=".place-", dir=there)).rmdir()
        if there == root:
            _recognise(root)
    _check_recorded(directory)


@contextlib.contextmanager
def _as_run_directory(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "nothing can be made there" if error.errno == errno.ENOENT else error.strerror
        raise RunError(f"{root}: cannot be a run directory ({reason}); change runs or name") from None


def _make_or_recognise(root: Path) -> None:
    """Create the run directory; a folder of someone's files, which the configuration may name, is left alone."""
    with _as_run_directory(root):
        root.mkdir(parents=True, exist_ok=True)
        _recognise(root)


def _recognise(root: Path) -> None:
    names = {path.name for path in root.iterdir()}
    if names - {LOCKS} and not any((root / name).exists() for name in OURS):
        raise RunError(f"{root}: holds files that are not a run of doremi; change runs or name, or empty the folder")


def sweep(folder: Path) -> None:
    """Remove what a killed process left under temporary names. Nobody else works there: we hold its lock."""
    for path in [path for path in folder.rglob(".*.tmp") if path.parent.name != LOCKS]:  # others come to these
        if path.is_dir():
            shutil.rmtree(path)
        else:  # gone already if it lay in such a folder
            path.unlink(missing_ok=True)


# -- manifest --------------------------------------------------------------------------------------------------------


def _write_config(space: Workspace) -> None:
    write_bytes(space.root / "config.yaml", dump(space.config).encode())


def _record(space: Workspace) -> None:
    """The manifest as this process would have it, and the configuration where there is none."""
    if not (space.root / "config.yaml").exists():
        _write_config(space)
    path = space.root / "manifest.json"
    held = space.directory.manifest() if path.exists() else {}
    value = {
        "format": FORMAT,
        "fingerprint": dict(held).get("fingerprint"),
        "versions": versions(),
        "commit": _commit(),
        "seed": space.config.seed,
        "machine": dict(held).get("machine"),
        "repeats": dict(held).get("repeats"),
    }
    if value != held:
        write_json(path, value)


def _has_trainings(directory: RunDirectory) -> bool:
    """Whether a training has begun: from then on the machine's facts stay as they are recorded."""
    return any((directory.root / "trainings").glob("*"))


def this_machine(world: World) -> Machine:
    """The facts that `auto` follows from, here."""
    cores, device = available_cores(), world.device
    threads = max(1, cores // world.local_size)
    return Machine(device.type, has_bfloat16(device), cores, threads, device_memory(device), world.size)


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU, all of them; None for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def _tell_versions(space: Workspace) -> None:
    """Whoever goes on with another torch or on another kind of device is told: last digits will differ."""
    if not (space.root / "manifest.json").exists() or not _has_trainings(space.directory):
        return
    held, device = space.directory.manifest(), space.world.device.type
    before, now, began_on = held["versions"].get("torch"), versions()["torch"], held["machine"]["device"]
    if before != now:
        space.watch.say(f"warning: this run was begun with torch {before}, here is {now}. Last digits may differ.")
    if device != began_on:
        space.watch.say(f"warning: this run was begun on {began_on}, here is {device}. Digits will differ.")


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


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix units for bfloat16 exist: CUDA devices that support it, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
