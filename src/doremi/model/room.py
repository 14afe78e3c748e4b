"""How many logits may exist at once on a card: what its memory leaves, by arithmetic.

A training holds its parameters with gradient and two moments, what the forward pass leaves for the backward pass, and
the logits with what their loss and gradient take. The last can be had in chunks, which costs a second product, so
they get all the room that is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from doremi.errors import ConfigError
from doremi.model import operations
from doremi.model.build import LOGITS_LIMIT_BYTES
from doremi.model.kept import kept

USABLE = 0.8  # of a card's memory; the rest is the driver's, the allocator's gaps and the optimiser's passing copies
PARAMETER_BYTES = 16  # itself, its gradient, two moments
LOGIT_COPIES = 4
"""What float32 logits take, in their own size, at most: without a compiler, under autocast, they are there in bfloat16
and float32, as log-probabilities, and twice as a gradient."""


def logits_room(
    device_memory: int, description: Mapping[str, Any], parameters: int, vocab_size: int, sequence_length: int,
    rows: int, *, halved: bool, recomputed: str = "none",
) -> int:  # fmt: skip
    """Bytes of float32 logits that fit at once beside a training on micro-batches of `rows` sequences.

    `description` is the model's (`model.shape`), `parameters` counts its embeddings too. `halved`: passes are compiled
    in bfloat16, and keep half of what they keep in float32. `recomputed` is what is computed again. Never less than
    on a CPU.
    """
    try:
        counted = operations.of_model(description, vocab_size, sequence_length)
    except ConfigError:  # its computations depend on the text: nothing is known of its memory
        return LOGITS_LIMIT_BYTES
    between = rows * kept(counted, counted.saved, recomputed) / (2 if halved else 1)
    left = USABLE * device_memory - PARAMETER_BYTES * parameters - between
    return max(LOGITS_LIMIT_BYTES, int(left) // LOGIT_COPIES)


def scoring_room(device_memory: int, parameters: int) -> int:
    """The same beside a model that is only asked for losses."""
    return max(LOGITS_LIMIT_BYTES, int(USABLE * device_memory - 4 * parameters) // LOGIT_COPIES)
