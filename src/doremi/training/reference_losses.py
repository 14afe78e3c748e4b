"""The reference model's token losses, which the proxy is compared with: computed beside the proxy, or kept on disk.

They are rounded to float16 either way, so that both give the same domain weights (bfloat16 would lose too much: three
digits of a loss near 10). A store holds the losses of every training sequence of the corpus, computed once by the
forward pass alone; a proxy that reads them makes plain steps, whatever its eta, seed or interruptions.

    losses/manifest.json      of which reference, data and sequence length; checksums; written last
    losses/<domain>.f16       float16 little-endian, `[sequences, T]` in the order of the token file

Shapes as in `dro.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from doremi.corpus.loader import Batch, windows
from doremi.corpus.store import FlatFile, token_file
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import DamageError
from doremi.files import FORMAT, file_sha256, flush_to_disk, read_json, write_json
from doremi.model.build import TokenLosses
from doremi.model.transfer import to_device, to_host

FULL_CHECK_BYTES = 4 * 2**30  # above this only sizes are checked when a store is opened
DTYPE = np.dtype("<f2")

Forward = Callable[[Tensor, Tensor], Tensor]


def rounded(loss_BT: Tensor) -> Tensor:
    """To float16 and back: the precision that reference losses are kept in."""
    return loss_BT.to(torch.float16).to(torch.float32)


class LiveReference:
    """Computes the losses beside the proxy: frozen, dropout off, no graph kept."""

    def __init__(self, module: TokenLosses, forward: Forward) -> None:
        module.eval().requires_grad_(False)
        self.forward = forward

    def read(self, batch: Batch) -> None:
        """Nothing is known before the batch is on the device."""
        return None

    @torch.no_grad()
    def __call__(self, input_BT: Tensor, label_BT: Tensor) -> Tensor:
        return rounded(self.forward(input_BT, label_BT))


class StoredReference:
    """Reads the losses from a store; `DamageError` if it is not this reference's, or damaged."""

    def __init__(self, folder: Path, corpus: Corpus, sequence_length: int, reference_key: str) -> None:
        self.sequence_length = sequence_length
        manifest = read_json(folder / "manifest.json", "store of reference losses")
        wanted = identity(corpus, sequence_length, reference_key)
        for name, value in wanted.items():
            if manifest[name] != value:
                raise DamageError(
                    f"{folder}: holds the losses of another {name.replace('_', ' ')}; remove the folder and run again"
                )
        paths = _paths(folder, corpus)
        full = sum(corpus.count("train", "tokens")) * DTYPE.itemsize < FULL_CHECK_BYTES
        for path, tokens in zip(paths.values(), corpus.count("train", "tokens"), strict=True):
            size = windows(tokens, sequence_length) * sequence_length * DTYPE.itemsize
            if not path.is_file() or path.stat().st_size != size or (full and not _sound(path, manifest)):
                raise DamageError(f"{path}: is missing or not what was written; remove {folder} and run again")
        self.files = [FlatFile(path, "float16") for path in paths.values()]

    def read(self, batch: Batch) -> np.ndarray:
        """Losses of a batch's sequences, float32 `[B, T]`."""
        block = np.empty((len(batch.domain_B), self.sequence_length), dtype=np.float32)
        for row, (domain, sequence) in enumerate(zip(batch.domain_B, batch.sequence_B, strict=True)):
            self.files[domain].read(int(sequence) * self.sequence_length, block[row])
        return block

    def __call__(self, input_BT: Tensor, label_BT: Tensor) -> Tensor:
        raise NotImplementedError("stored losses are read with the batch")


ReferenceLosses = LiveReference | StoredReference


def _paths(folder: Path, corpus: Corpus) -> dict[str, Path]:
    """Each domain's file."""
    return {name: folder / f"{corpus.entries[name].folder}.f16" for name in corpus.domains}


def _sound(path: Path, manifest: dict[str, Any]) -> bool:
    return file_sha256(path) == manifest["files"][path.name]


def identity(corpus: Corpus, sequence_length: int, reference_key: str) -> dict[str, Any]:
    """What a store must agree in with the proxy that reads it."""
    return {
        "reference": reference_key,
        "data": corpus.fingerprint,
        "tokenizer": corpus.tokenizer.sha256,
        "sequence_length": sequence_length,
    }


# -- writing ----------------------------------------------------------------------------------------------------------


def write_store(
    folder: Path, corpus: Corpus, sequence_length: int, reference_key: str, forward: Forward, world: World, rows: int
) -> None:
    """The losses of all training sequences, `rows` at a time; processes share the work. Finished domains are kept."""
    paths = _paths(folder, corpus)
    known = {"format": FORMAT, **identity(corpus, sequence_length, reference_key)}
    unfinished = folder / "unfinished.json"
    if world.is_main and not (unfinished.exists() and read_json(unfinished, "unfinished store") == known):
        shutil.rmtree(folder, ignore_errors=True)
        write_json(unfinished, known)
    world.barrier()
    for name, path in paths.items():
        if not world.any(path.exists()):
            _write_domain(path, corpus, name, sequence_length, forward, world, rows)
    if world.is_main:
        files = {path.name: file_sha256(path) for path in paths.values()}
        write_json(folder / "manifest.json", {**known, "files": files})
        unfinished.unlink()
    world.barrier()


def _write_domain(
    path: Path, corpus: Corpus, name: str, length: int, forward: Forward, world: World, rows: int
) -> None:
    """One domain's file: every process writes the rows that it computed, the main one gives the file its name."""
    tokens = token_file(corpus, name, "train")
    sequences = windows(corpus.entries[name].train.tokens, length)
    temporary = path.with_name(f".{path.name}.tmp")
    if world.is_main:
        with temporary.open("wb") as file:
            file.truncate(sequences * length * DTYPE.itemsize)
    world.barrier()
    descriptor = os.open(temporary, os.O_WRONLY)
    try:
        waiting: list[tuple[Callable[[], np.ndarray], int, int]] = []
        for start in range(0, sequences, rows * world.size):  # all call `forward` equally often: it may be sharded
            first = start + world.rank * rows
            used = max(0, min(rows, sequences - first))
            row = np.zeros(rows * length + 1, dtype=np.int64)
            if used:
                tokens.read(first * length, row[: used * length + 1])
            row_N = to_device(row, world.device)
            with torch.no_grad():
                loss_BT = forward(row_N[:-1].view(rows, length), row_N[1:].view(rows, length)).to(torch.float16)
            waiting.append((to_host(loss_BT), first, used))
            if len(waiting) > 1:  # a batch behind, so that a GPU has its next one meanwhile
                _write(descriptor, *waiting.pop(0))
        for batch in waiting:
            _write(descriptor, *batch)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    world.barrier()
    if world.is_main:
        temporary.replace(path)
        flush_to_disk(path.parent)
    world.barrier()


def _write(descriptor: int, loss: Callable[[], np.ndarray], first: int, used: int) -> None:
    """The losses of `used` sequences from number `first` on, `[rows, T]`, into their place in the file."""
    loss_BT = loss()
    os.pwrite(descriptor, loss_BT[:used].astype(DTYPE).tobytes(), first * loss_BT.shape[1] * DTYPE.itemsize)
