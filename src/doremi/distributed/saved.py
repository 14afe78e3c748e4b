"""Shards on disk, by PyTorch's distributed checkpoints (DCP), as safetensors: at once, or in the background."""

# pyright: reportPrivateImportUsage=false
# torch.distributed gives its names to everyone, but does not list them.

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor


def save_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    """Every process writes its own shards, as safetensors; what all have alike is written once."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save

    save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def begin_shards(tensors: dict[str, Tensor], folder: Path) -> Callable[[], object]:
    """The same by a thread, from a copy in the host's memory; called, the result waits until all have written.

    Its exchanges are on a group of their own, because the control group's go on meanwhile.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import async_save

    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    future = async_save(tensors, storage_writer=writer, process_group=_saving_group())
    assert isinstance(future, Future)  # its stager copies before it returns
    return future.result


@cache
def _saving_group() -> dist.ProcessGroup:
    """Over gloo, on the CPU. All processes make it at the same time, with their first save in the background."""
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)
    return group


def saved_tensors(folder: Path) -> dict[str, Tensor]:
    """Names, shapes and types in a folder of safetensors files, whoever wrote them; on the meta device."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    entries = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
        for name, entry in entries.items()
        if isinstance(entry, TensorStorageMetadata)
    }


def load_shards(tensors: dict[str, Tensor], folder: Path) -> None:
    """Fill `tensors`, sharded in any way or not at all, from a folder of safetensors files.

    This reader knows safetensors headers only. DCP's usual one unpickles a file named .metadata.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process: that is meant
        load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=not dist.is_initialized())
