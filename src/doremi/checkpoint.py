"""Atomic save and restore of everything a training needs to go on exactly: tensors and plain state.

A checkpoint is a folder `step-<n>` with tensors.safetensors, state.json and checksums.json. It is written under a
temporary name, flushed and renamed, so a folder with its final name is complete; the last two are kept. Restoring
checks the checksums and falls back to the one before, saying so. Nothing is ever unpickled.
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

from doremi.runs import FORMAT, file_sha256, flush_to_disk, tensor_files, write_json

KEEP = 2
_FILES = ("tensors.safetensors", "state.json")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved after `step` steps: named tensors (on the CPU) and JSON values."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write `folder/step-<n>` atomically and drop all but the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".step-{step:08d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with tensor_files(temporary):
            save_file({name: t.detach().contiguous().cpu() for name, t in tensors.items()}, temporary / _FILES[0])
        write_json(temporary / _FILES[1], {"format": FORMAT, "step": step, **state})
        write_json(
            temporary / "checksums.json",
            {"format": FORMAT, "sha256": {name: file_sha256(temporary / name) for name in _FILES}},
        )
        flush_to_disk(temporary / _FILES[0])
        final = folder / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.replace(final)
        flush_to_disk(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in saved(folder)[:-KEEP]:
        shutil.rmtree(old)


def remove(folder: Path) -> None:
    """Drop all."""
    shutil.rmtree(folder, ignore_errors=True)


def keep_last(folder: Path) -> None:
    """Drop all but the newest: of a finished training one says it all, wherever earlier ones fell."""
    for old in saved(folder)[:-1]:
        shutil.rmtree(old)


def saved(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step-????????"))


def latest(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None; `say` is told of each damaged one that is passed over."""
    for path in reversed(saved(folder)):
        problem = _damage(path)
        if problem is None:
            state = json.loads((path / _FILES[1]).read_text(encoding="utf-8"))
            return Checkpoint(state["step"], load_file(path / _FILES[0]), state)
        say(f"checkpoint {path} is damaged ({problem}); going back to the one before")
    return None


def _damage(path: Path) -> str | None:
    try:
        recorded = json.loads((path / "checksums.json").read_text(encoding="utf-8"))["sha256"]
        wrong = [name for name in _FILES if file_sha256(path / name) != recorded[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return f"checksum of {wrong[0]}" if wrong else None


# -- what a training consists of ---------------------------------------------------------------------------------------


def training_tensors(module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, Tensor]:
    """Parameters, buffers, optimiser state and random generators by name; tied parameters once."""
    tensors = {f"model.{name}": p for name, p in module.named_parameters()}
    tensors |= {f"model.{name}": b for name, b in module.named_buffers()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def restore_tensors(
    tensors: Mapping[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """Put back what `training_tensors` took."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[f"model.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
