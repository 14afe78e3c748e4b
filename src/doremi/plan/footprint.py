"""What a training leaves on the disk, from shapes alone: token files, checkpoints, models, traces, losses. Exact.

Counted are the files that hold numbers. Text beside them (logs, JSON, the report) depends on how many digits its
numbers have; it is tens of kilobytes a training and is not counted. Nothing here takes memory: models are built on
PyTorch's meta device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from doremi.config import TrainingConfig
from doremi.corpus.loader import windows
from doremi.corpus.pool import first
from doremi.corpus.store import expected_size
from doremi.corpus.value import Corpus
from doremi.model.build import TokenLosses, build
from doremi.rundir.metrics import TRACE_COLUMNS
from doremi.training import checkpoint
from doremi.training.optimizer import make_optimizer
from doremi.training.reference_losses import DTYPE

NAMES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.uint8: "U8"}
FLOAT32, FLOAT64 = 4, 8
TOKEN_FILES = (
    ("train", "train.bin"), ("train", "train.ends"), ("train", "train.segments"), ("validation", "validation.bin"),
    ("validation", "validation.ends"), ("validation", "validation.documents"),
)  # fmt: skip


def meta_model(description: Mapping[str, Any], vocab_size: int, sequence_length: int) -> TokenLosses:
    """The model without its numbers; `ConfigError` if it cannot be built."""
    with torch.device("meta"):
        return TokenLosses(build(dict(description), vocab_size, sequence_length, 0), sequence_length)


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> int:
    """Size of a safetensors file: a length of 8 bytes, a JSON header padded to whole 8 bytes, the numbers."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        end = place + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-length // 8) * 8 + place


def model_bytes(model: TokenLosses) -> int:
    """The saved model's model.safetensors; tied parameters are in it once."""
    own = {id(t) for t in model.lm.parameters()} | {id(t) for _, t in _kept_buffers(model.lm)}
    tensors = {name: t for name, t in model.lm.state_dict(keep_vars=True).items() if id(t) in own}
    once = {id(t): name for name, t in reversed(tensors.items())}  # the first of several names
    return safetensors_bytes({name: tensors[name] for name in once.values()}, {"format": "pt"})


def _kept_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    kept = set(module.state_dict())
    return [(name, tensor) for name, tensor in module.named_buffers() if name in kept]


def checkpoint_bytes(
    model: TokenLosses, settings: TrainingConfig, objective: Mapping[str, Any], device: torch.device
) -> int:
    """The tensors of the checkpoint of a last step; `objective` is the objective's state."""
    optimizer = make_optimizer(model, settings)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = _optimizer_state(parameter, settings.optimizer)
    tensors = checkpoint.training_tensors(model, optimizer, device)
    tensors |= {f"objective.{name}": value for name, value in objective.items() if isinstance(value, Tensor)}
    return safetensors_bytes(tensors)


def _optimizer_state(parameter: Tensor, optimizer: str) -> dict[str, Tensor]:
    """Tensors of the shapes that PyTorch's AdamW and Adafactor keep for a parameter."""
    step = torch.zeros((), dtype=torch.float32)
    if optimizer == "adamw":
        return {"step": step, "exp_avg": parameter.detach(), "exp_avg_sq": parameter.detach()}
    if parameter.ndim < 2:
        return {"step": step, "variance": parameter.detach()}
    return {"step": step, "row_var": parameter.detach()[..., :1], "col_var": parameter.detach()[..., :1, :]}


def log_bytes(corpus: Corpus, steps: int) -> int:
    """trace.f32 and evaluation.documents.f64 of one training."""
    row = 3 + len(TRACE_COLUMNS) * len(corpus.domains)
    return steps * row * FLOAT32 + sum(first(corpus)) * FLOAT64


def losses_bytes(corpus: Corpus, sequence_length: int) -> int:
    """The stored losses of one reference."""
    counts = [windows(n, sequence_length) for n in corpus.training.count("train", "tokens")]
    return sum(counts) * sequence_length * DTYPE.itemsize


def corpus_bytes(corpus: Corpus) -> int:
    """The token files of all domains, training and validation, and of the documents that epoch-matched runs keep.

    The run itself has the ends and records of the validation documents once more.
    """
    kept = _token_bytes(corpus.kept, ("train",)) if corpus.kept is not None else 0
    for_judging = 16 * sum(corpus.count("validation", "documents"))
    return _token_bytes(corpus, ("train", "validation")) + kept + for_judging


def _token_bytes(corpus: Corpus, splits: Sequence[str]) -> int:
    itemsize = np.dtype(corpus.dtype).itemsize
    return sum(
        expected_size(Path(name), getattr(entry, split), itemsize)
        for entry in corpus.entries.values()
        for split, name in TOKEN_FILES
        if split in splits and (entry.in_place is None or name != "train.bin")
    )
