"""What is said where a training does not fit into the memory of its device."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

from doremi.errors import TrainingError
from doremi.files import size_in_words
from doremi.rundir.memory import LESS

_CPU = re.compile(r"can't allocate memory: you tried to allocate (\d+) bytes")
_GPU = re.compile(r"Tried to allocate [0-9.]+ \w+|total capacity of [0-9.]+ \w+")


@contextlib.contextmanager
def memory_or_said(name: str) -> Iterator[None]:
    """`TrainingError` in one line that says what to set, where PyTorch runs out of memory. `name`: of the training."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        found = ", ".join(part[0].lower() + part[1:] for part in _GPU.findall(str(error)))
        why = found or "out of memory"
        raise TrainingError(f"{name} does not fit into the memory of the GPU ({why}). {LESS}") from None
    except RuntimeError as error:
        if (found := _CPU.search(str(error))) is None:
            raise
        asked = size_in_words(int(found[1]))
        raise TrainingError(f"{name} does not fit into memory ({asked} more could not be had). {LESS}") from None
