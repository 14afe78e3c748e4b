"""What a forward pass leaves for its backward pass, where a part is computed again. Arithmetic, without torch."""

from __future__ import annotations

from typing import Protocol


class Counted(Protocol):
    """Of one sequence, in bytes of float32; see `operations.Operations`."""

    @property
    def scores(self) -> int: ...
    @property
    def layers(self) -> int | None: ...
    @property
    def in_blocks(self) -> int: ...
    @property
    def in_attention(self) -> int: ...
    @property
    def between(self) -> int: ...


def kept(counted: Counted, saved: int, recomputed: str) -> int:
    """Bytes between the passes, of all that is `saved`; fused attention keeps no scores.

    Of what is computed again, one block's share is there at a time, and the hidden states that all blocks get.
    """
    whole, layers = saved - counted.scores, counted.layers or 0
    if recomputed not in ("block", "attention") or not layers:
        return whole
    again = counted.in_blocks if recomputed == "block" else counted.in_attention
    return whole - again + again // layers + counted.between
