"""Models that no process holds as a whole: built, loaded and saved in the parts that each process has of them.

A model has the first values that one process would give it, whatever the number of processes: all of them make the
same draws, and keep their parts (model/parts.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from doremi.config import TrainingConfig
from doremi.distributed import Shards, World, load_shards, saved_tensors
from doremi.errors import ConfigError
from doremi.files import tensor_files, write_json
from doremi.model.build import TokenLosses, describe, like, load, publish, save
from doremi.model.parts import build_parts
from doremi.model.stand_in import Keeper, Kept, Tried, tried

FILE_BYTES = 5_000_000_000  # of one file of a saved model, at most; the process that writes it holds as much


def splits(settings: TrainingConfig, world: World) -> bool:
    """Whether models are split over processes."""
    return settings.parallel == "fsdp" and world.size > 1


def shards_of(settings: TrainingConfig, world: World) -> Shards:
    """How models are split; `ConfigError` where the processes do not divide so."""
    if settings.shard_size is not None and world.size % settings.shard_size:
        raise ConfigError(
            f"training.shard_size: {world.size} processes cannot be divided into groups of {settings.shard_size}"
        )
    return Shards(settings.precision, settings.shard_size)


def build_sharded(
    make: Callable[[], Any], sequence_length: int, spread: float, shards: Shards, world: World
) -> TokenLosses:
    """The model that `make` builds, split over the processes; its matrices are `spread` times what `make` says."""

    def part(whole: Tensor) -> Tensor:
        mine = world.part(whole, shards)
        return mine.mul_(spread) if whole.ndim >= 2 else mine

    lm, kept = build_parts(make, Keeper(part, tries=world.is_main))
    module = _tried(lm, kept, sequence_length, world)
    module = world.shard(module, shards)
    world.fill(module, {f"lm.{name}": one.part for name, one in kept.items()})
    return module


def _tried(lm: Any, kept: Mapping[str, Kept], sequence_length: int, world: World) -> TokenLosses:
    """On the meta device, with all that the main process has found out about it."""
    found = [Tried(False, False)]

    def run() -> None:
        found[0] = tried(lm, kept, sequence_length)

    world.on_main(run)  # a large one takes minutes, for which no process may give up
    linear, unmasked = (world.from_main(int(flag)) for flag in (found[0].linear_head, found[0].unmasked))
    module = TokenLosses(lm, sequence_length)
    Tried(bool(linear), bool(unmasked)).apply(module)
    return module


def load_sharded(folder: Path, sequence_length: int, shards: Shards, world: World) -> TokenLosses:
    """A saved model, split over the processes, each of which reads its part."""
    with torch.random.fork_rng(devices=[]):  # its first values are drawn, and replaced
        module = build_sharded(lambda: like(folder), sequence_length, 1.0, shards, world)
    own = {**dict(module.lm.named_parameters()), **dict(module.lm.named_buffers())}
    saved = saved_tensors(folder).keys()
    if not own.keys() >= saved:  # saved under names that are not the module's
        return world.shard(TokenLosses(load(folder), sequence_length).to(world.device), shards)
    load_shards({name: own[name].detach() for name in saved}, folder)
    return module


def save_sharded(lm: Any, tokenizer_folder: Path, folder: Path, world: World) -> None:
    """What `save` writes, from a model that is split; in files of which each is written by one of the processes.

    Every process must call this. A process holds as much as one file; where the library saves a model under other names
    than the module's, the main process holds it all.
    """
    tensors = _saved_of(lm)
    if _is_converted(lm, tensors):
        whole = world.whole(lm.state_dict())
        if world.is_main:
            save(lm, tokenizer_folder, folder, whole)
        return
    files, temporary = _files(tensors), folder.with_name(f".{folder.name}.tmp")
    if world.is_main:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    world.barrier()
    with tensor_files(temporary):
        _write(tensors, files, temporary, world)
    world.barrier()
    if world.is_main:
        if len(files) > 1:
            index = {name: file for file, names in files.items() for name in names}
            total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            write_json(
                temporary / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index}
            )
        describe(lm, temporary)
        publish(temporary, tokenizer_folder, folder)


def _saved_of(lm: Any) -> dict[str, Tensor]:
    """What is saved of a model; tied parameters are in it once."""
    kept = lm.state_dict().keys()
    return {**dict(lm.named_parameters()), **{name: t for name, t in lm.named_buffers() if name in kept}}


def _is_converted(lm: Any, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the library saves this architecture under other names or in other shapes."""
    from transformers.core_model_loading import revert_weight_conversion

    empty = {name: torch.empty(tensor.shape, device="meta") for name, tensor in tensors.items()}
    shapes = {name: tensor.shape for name, tensor in empty.items()}
    return {name: tensor.shape for name, tensor in revert_weight_conversion(lm, empty).items()} != shapes


def _files(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of tensors by file, in their order."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        number = tensor.numel() * tensor.element_size()
        if groups[-1] and size + number > FILE_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += number
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{n:05d}-of-{len(groups):05d}.safetensors": names for n, names in enumerate(groups, start=1)}


def _write(tensors: Mapping[str, Tensor], files: Mapping[str, list[str]], folder: Path, world: World) -> None:
    """The files in turn, each by its owner."""
    file_of = {name: file for file, names in files.items() for name in names}
    owner = {name: n % world.size for n, names in enumerate(files.values()) for name in names}
    held: dict[str, Tensor] = {}
    for name, tensor in world.gathered(tensors, owner):
        held[name] = tensor.contiguous()
        file = file_of[name]
        if len(held) == len(files[file]):
            save_file(held, folder / file, metadata={"format": "pt"})
            held.clear()
