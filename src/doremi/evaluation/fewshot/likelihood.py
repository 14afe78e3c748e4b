"""How likely the right answer is, teacher-forced: graded where exact match is still zero, as it is for small models.

Shapes: N examples, B windows, T tokens, V vocabulary, M answer tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LOGITS_BYTES = 256 * 2**20  # float32 logits of one batch


@dataclass(frozen=True)
class Window:
    """`tokens[first:]` are answer tokens of example `example`, each predicted from all of `tokens` before it."""

    example: int
    tokens: Sequence[int]
    first: int


def score_answers(
    lm: Any, encode: Callable[[str], list[int]], pairs: Sequence[tuple[str, str]], context_length: int, device: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Each answer after its context, a blank between them: nats `[N]`, and whether greedy decoding gives it `[N]`.

    `pairs`: context and answer. Contexts that don't fit in `context_length` tokens lose their beginning. `lm` maps
    `input_ids` `[B, T]` to `logits` `[B, T, V]`.
    """
    windows = [
        window
        for example, (context, answer) in enumerate(pairs)
        for window in cut(example, encode(context), encode(f"{context} {answer}"), context_length)
    ]
    windows.sort(key=lambda window: len(window.tokens), reverse=True)  # little padding, the largest batch first
    nats, greedy = np.zeros(len(pairs)), np.ones(len(pairs), dtype=bool)
    start, vocab_size = 0, lm.config.vocab_size
    while start < len(windows):
        rows = max(1, LOGITS_BYTES // (len(windows[start].tokens) * vocab_size * 4))
        batch = windows[start : start + rows]
        example_M, nats_M, hit_M = _score(lm, batch, device)
        np.add.at(nats, example_M, nats_M)
        np.logical_and.at(greedy, example_M, hit_M)
        start += rows
    return nats, greedy


def cut(example: int, context: Sequence[int], whole: Sequence[int], context_length: int) -> Iterator[Window]:
    """Windows of at most `context_length` inputs in which each answer token is predicted once.

    The answer begins where the ids of the whole text leave those of the context: a tokenizer may join the two.
    Nearly every answer is one window that keeps as much context as fits.
    """
    same = (i for i, (a, b) in enumerate(zip(context, whole, strict=False)) if a != b)
    begin = max(1, next(same, min(len(context), len(whole) - 1)))
    for end in range(len(whole), begin, -context_length):
        start = max(0, end - context_length - 1)
        yield Window(example, whole[start:end], max(begin - start, 1))


def _score(
    lm: Any, batch: Sequence[Window], device: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Example, nats and whether it is the most likely token, `[M]` each; padding lies behind and is never read."""
    input_BT = torch.zeros((len(batch), max(len(window.tokens) for window in batch) - 1), dtype=torch.long)
    label_BT = torch.full_like(input_BT, -1)
    for row, window in enumerate(batch):
        tokens = torch.tensor(window.tokens)
        input_BT[row, : len(tokens) - 1] = tokens[:-1]
        label_BT[row, window.first - 1 : len(tokens) - 1] = tokens[window.first :]
    asked_BT = label_BT >= 0
    with torch.no_grad():
        logits_MV = lm(input_ids=input_BT.to(device), use_cache=False).logits[asked_BT.to(device)].float()
    label_M = label_BT[asked_BT].to(device)
    nats_M = torch.nn.functional.cross_entropy(logits_MV, label_M, reduction="none")
    example_M = np.repeat([window.example for window in batch], asked_BT.sum(dim=1).numpy())
    return example_M, nats_M.double().cpu().numpy(), (logits_MV.argmax(dim=1) == label_M).cpu().numpy()
