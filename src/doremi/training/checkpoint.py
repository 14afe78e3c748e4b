"""Atomic save and restore of everything a training needs to go on exactly: tensors and plain state.

A checkpoint is a folder `step-<n>` with safetensors files (one, or one a process where the model is sharded),
state.json and checksums.json. It is written under a temporary name, flushed and renamed, so a folder with its final
name is complete; the last two are kept. Restoring checks the checksums and falls back to the one before, saying so.
Any number of processes can go on from it. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from doremi.distributed import World, begin_shards, is_sharded, load_shards, save_shards, saved_tensors
from doremi.files import FORMAT, file_sha256, flush_to_disk, tensor_files, write_json

KEEP = 2
_TENSORS, _STATE, _SUMS = "tensors.safetensors", "state.json", "checksums.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps: JSON values, and a folder with the tensors."""

    step: int
    folder: Path
    state: dict[str, Any]


@dataclass(frozen=True)
class Saving:
    """A checkpoint that is being written, under a temporary name. Every process has one."""

    folder: Path
    step: int
    state: Mapping[str, Any]
    world: World
    written: Callable[[], dict[str, str]]
    """Waits until this process's files are on the disk; their checksums."""
    done: Callable[[], bool] = lambda: True
    """Whether nobody would have to wait for them."""

    def publish(self) -> None:
        """Wait for all processes, give the folder its final name, and drop all but the last two."""
        temporary, world = _temporary(self.folder, self.step), self.world
        try:
            with tensor_files(temporary):
                mine = self.written()
            parts = world.collected(json.dumps(mine))
            if world.is_main:
                sums = {name: digest for part in parts for name, digest in json.loads(part).items()}
                state = {"format": FORMAT, "step": self.step, **self.state}
                _publish(temporary, self.folder / f"step-{self.step:08d}", state, sums)
        finally:
            if world.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
        if world.is_main:
            for old in saved(self.folder)[:-KEEP]:
                shutil.rmtree(old)


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], world: World, *, sharded: bool
) -> None:
    """Write `folder/step-<n>` atomically and drop all but the last two. Every process must call this."""
    temporary = _make_temporary(folder, step, world)

    def written() -> dict[str, str]:
        if sharded:
            save_shards(dict(tensors), temporary)
        elif world.is_main:
            save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, temporary / _TENSORS)
        world.barrier()
        return _sums(temporary, world)

    Saving(folder, step, state, world, written).publish()


def begin(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], world: World, *, sharded: bool
) -> Saving:
    """The same, written by a thread from a copy in the host's memory. Every process must call this, and then `publish`.

    The tensors may change as soon as this returns.
    """
    temporary = _make_temporary(folder, step, world)
    write = begin_shards(dict(tensors), temporary) if sharded else _begin_file(tensors, temporary, world)

    def sums() -> dict[str, str]:
        write()
        return _sums(temporary, world)

    thread = ThreadPoolExecutor(1, thread_name_prefix="save")
    future = thread.submit(sums)
    thread.shutdown(wait=False)
    return Saving(folder, step, state, world, future.result, future.done)


def _begin_file(tensors: Mapping[str, Tensor], temporary: Path, world: World) -> Callable[[], object]:
    """Copy what the main process writes; called, the result writes it."""
    if not world.is_main:
        return lambda: None
    whole = torch.contiguous_format
    copies = {name: t.detach().to("cpu", copy=True, memory_format=whole) for name, t in tensors.items()}
    return lambda: save_file(copies, temporary / _TENSORS)


def _temporary(folder: Path, step: int) -> Path:
    return folder / f".step-{step:08d}.tmp"


def _make_temporary(folder: Path, step: int, world: World) -> Path:
    """The empty folder that is written to, there for all processes."""
    temporary = _temporary(folder, step)
    if world.is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    world.barrier()
    return temporary


def _sums(temporary: Path, world: World) -> dict[str, str]:
    """Checksums of this process's share of the files with tensors, which are then on the disk."""
    mine = {}
    for path in _share(sorted(temporary.glob("*.safetensors")), world):
        flush_to_disk(path)
        mine[path.name] = file_sha256(path)
    return mine


def _share(files: list[Path], world: World) -> list[Path]:
    """Of files that processes have written, one each and in their order, those of this process.

    Where there are more processes than files, or fewer, all files are still shared out.
    """
    return files[world.rank :: world.size]


def _publish(temporary: Path, final: Path, state: Mapping[str, Any], sums: Mapping[str, str]) -> None:
    """Add state and checksums to the tensors and give the folder its final name."""
    write_json(temporary / _STATE, state)
    write_json(temporary / _SUMS, {"format": FORMAT, "sha256": {**sums, _STATE: file_sha256(temporary / _STATE)}})
    for name in (_STATE, _SUMS):
        flush_to_disk(temporary / name)
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)
    flush_to_disk(final.parent)


def remove(folder: Path) -> None:
    """Drop all."""
    shutil.rmtree(folder, ignore_errors=True)


def keep_last(folder: Path) -> None:
    """Drop all but the newest: of a finished training one says it all, wherever earlier ones fell."""
    for old in saved(folder)[:-1]:
        shutil.rmtree(old)


def saved(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-" + 8 * "[0-9]"))


def latest(folder: Path, say: Callable[[str], None], world: World) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None; `say` is told of each damaged one that is passed over."""
    steps = [int(path.name.removeprefix("step-")) for path in reversed(saved(folder))] if world.is_main else []
    for number in range(KEEP + 1):  # as many as there can be, if one is half removed
        step = world.from_main(steps[number] if number < len(steps) else -1)
        if step < 0:
            break
        path = folder / f"step-{step:08d}"
        problem = next(filter(None, world.collected(_damage(path, world))), None)
        if problem is None:
            return Checkpoint(step, path, json.loads((path / _STATE).read_text(encoding="utf-8")))
        if world.is_main:
            say(f"checkpoint {path} is damaged ({problem}); using the one before")
    return None


def _damage(path: Path, world: World) -> str:
    """What is wrong with the files of a checkpoint: each must be the one recorded, and no tensors may be added.

    Empty if nothing is. Each process reads its share of the tensors.
    """
    try:
        if not isinstance(json.loads((path / _STATE).read_text(encoding="utf-8")), dict):
            return f"{_STATE} is not a JSON object"
        recorded = json.loads((path / _SUMS).read_text(encoding="utf-8"))["sha256"]
        if _STATE not in recorded or len(recorded) < 2:
            return f"{_SUMS} does not name its files"
        files = sorted({path / name for name in recorded} - {path / _STATE})
        wrong = [p.name for p in [path / _STATE, *_share(files, world)] if file_sha256(p) != recorded[p.name]]
        wrong += [p.name for p in path.glob("*.safetensors") if p.name not in recorded]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return f"checksum of {wrong[0]}" if wrong else ""


# -- what a training consists of ---------------------------------------------------------------------------------------


def training_tensors(module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, Tensor]:
    """Parameters, buffers, optimiser state and random generators by name; tied parameters once."""
    tensors = {f"model.{name}": t for name, t in _own(module).items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def _own(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def restore_tensors(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Tensor]:
    """Put back what `training_tensors` took; returns the other tensors of the checkpoint.

    Parameters are read into their own places, so that no second copy of the model is held.
    """
    if (folder / _TENSORS).exists() and not is_sharded(module):
        tensors = _read_file(folder / _TENSORS, module)
    else:
        tensors = _read_shards(folder, module, optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in tensors if name.startswith("optimizer.")]:
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = tensors.pop(name)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors.pop("random.cpu"))
    cuda = tensors.pop("random.cuda", None)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
    return tensors


def _read_file(file: Path, module: nn.Module) -> dict[str, Tensor]:
    """All tensors of a file but the model's, which go to their places one by one."""
    own, tensors = _own(module), {}
    with safe_open(file, framework="pt") as stored, torch.no_grad():
        names = set(stored.keys())
        for name in own:
            own[name].copy_(stored.get_tensor(f"model.{name}"))
        for name in names - {f"model.{name}" for name in own}:
            tensors[name] = stored.get_tensor(name)
    return tensors


def _read_shards(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The same of a folder, whoever wrote it; the optimiser's tensors are sharded as the model is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    own = {f"model.{name}": tensor.detach() for name, tensor in _own(module).items()}
    others = {}
    for name, like in saved_tensors(folder).items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            parameter = parameters[int(rest.partition(".")[0])]
            fits = parameter.shape == like.shape and not isinstance(optimizer, torch.optim.Adafactor)  # whole anywhere
            others[name] = torch.zeros_like(parameter) if fits else torch.zeros_like(like, device="cpu")
        elif name not in own:
            others[name] = torch.zeros_like(like, device="cpu")
    load_shards({**own, **others}, folder)
    return others
