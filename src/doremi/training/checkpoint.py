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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from doremi.distributed import World, is_sharded, load_shards, save_shards, saved_tensors
from doremi.files import FORMAT, file_sha256, flush_to_disk, tensor_files, write_json

KEEP = 2
_TENSORS, _STATE, _SUMS = "tensors.safetensors", "state.json", "checksums.json"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps: JSON values, and a folder with the tensors."""

    step: int
    folder: Path
    state: dict[str, Any]


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], world: World, *, sharded: bool
) -> None:
    """Write `folder/step-<n>` atomically and drop all but the last two. Every process must call this."""
    temporary = folder / f".step-{step:08d}.tmp"
    if world.is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        with tensor_files(temporary):
            if sharded:
                world.barrier()
                save_shards(dict(tensors), temporary)
            elif world.is_main:
                save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, temporary / _TENSORS)
        world.barrier()
        if world.is_main:
            _publish(temporary, folder / f"step-{step:08d}", {"format": FORMAT, "step": step, **state})
    finally:
        if world.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
    if world.is_main:
        for old in saved(folder)[:-KEEP]:
            shutil.rmtree(old)


def _publish(temporary: Path, final: Path, state: Mapping[str, Any]) -> None:
    """Add state and checksums to the tensors and give the folder its final name."""
    write_json(temporary / _STATE, state)
    files = sorted(p for p in temporary.iterdir() if p.is_file())
    write_json(temporary / _SUMS, {"format": FORMAT, "sha256": {p.name: file_sha256(p) for p in files}})
    for path in files:
        flush_to_disk(path)
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
    step = world.from_main(_newest_sound(folder, say) if world.is_main else 0)
    if step < 0:
        return None
    path = folder / f"step-{step:08d}"
    return Checkpoint(step, path, json.loads((path / _STATE).read_text(encoding="utf-8")))


def _newest_sound(folder: Path, say: Callable[[str], None]) -> int:
    for path in reversed(saved(folder)):
        problem = _damage(path)
        if problem is None:
            return int(path.name.removeprefix("step-"))
        say(f"checkpoint {path} is damaged ({problem}); using the one before")
    return -1


def _damage(path: Path) -> str | None:
    """What is wrong with the files of a checkpoint: each must be the one recorded, and no tensors may be added."""
    try:
        if not isinstance(json.loads((path / _STATE).read_text(encoding="utf-8")), dict):
            return f"{_STATE} is not a JSON object"
        recorded = json.loads((path / _SUMS).read_text(encoding="utf-8"))["sha256"]
        wrong = [name for name in recorded if file_sha256(path / name) != recorded[name]]
        wrong += [p.name for p in path.glob("*.safetensors") if p.name not in recorded]
        if _STATE not in recorded or len(recorded) < 2:
            return f"{_SUMS} does not name its files"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return f"checksum of {wrong[0]}" if wrong else None


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
    """Put back what `training_tensors` took; returns the other tensors of the checkpoint."""
    tensors = _read(folder, module, optimizer)
    with torch.no_grad():
        for name, tensor in _own(module).items():
            tensor.copy_(tensors.pop(f"model.{name}"))
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


def _read(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a checkpoint, those of the model and its optimiser sharded as the model is."""
    if (folder / _TENSORS).exists() and not is_sharded(module):
        return load_file(folder / _TENSORS)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    own, tensors = _own(module), {}
    for name, like in saved_tensors(folder).items():
        kind, _, rest = name.partition(".")
        target = own.get(rest) if kind == "model" else None
        if kind == "optimizer":
            parameter = parameters[int(rest.partition(".")[0])]
            target = parameter if parameter.shape == like.shape else None
        tensors[name] = torch.zeros_like(like, device="cpu") if target is None else torch.zeros_like(target)
    load_shards(tensors, folder)
    return tensors
