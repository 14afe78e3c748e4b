"""What a causal language model's last step is, tried on hidden states of our own.

A cap, a scale, a norm or a second set of parameters between hidden states and logits may be invisible where a model is
tried as it was initialised: its logits are then so small that a cap of 30 changes no digit. So the model's own last
step is given hidden states that make logits of any size, and must answer as a plain linear layer each time.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

LOGIT_SIZES = (1e-3, 1.0, 30.0, 1e3, 1e6)
"""Largest logits that the last step is tried with."""
TRIAL_TOKENS = 8


@contextlib.contextmanager
def mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """In training or evaluation mode inside, as it was afterwards."""
    was = module.training
    module.train(training)
    try:
        yield
    finally:
        module.train(was)


def _tokens(lm: Any, sequence_length: int) -> Tensor:
    head = lm.get_output_embeddings()
    return torch.arange(min(TRIAL_TOKENS, sequence_length), device=head.weight.device)[None] % len(head.weight)


@torch.no_grad()
def looks_ahead(lm: Any, sequence_length: int) -> bool:
    """Whether what is predicted from the first tokens depends on a later one, which is then no prediction."""
    tokens_BT = _tokens(lm, sequence_length)
    other_BT = tokens_BT.clone()
    other_BT[:, -1] = (other_BT[:, -1] + 1) % len(lm.get_output_embeddings().weight)
    with mode(lm, training=False):
        logits_BTV, changed_BTV = (lm(input_ids=t, use_cache=False).logits[:, :-1] for t in (tokens_BT, other_BT))
    return not _close(logits_BTV, changed_BTV)


@torch.no_grad()
def is_linear(lm: Any, sequence_length: int) -> bool:
    """Whether the logits are a plain linear layer of the decoder's hidden states, and nothing else.

    That is so only if no parameter but the layer's own lies behind the decoder, the decoder alone gives the hidden
    states that it gives inside of the model, and the model makes of any hidden states what the layer makes of them,
    in training as in evaluation.
    """
    head, decoder = lm.get_output_embeddings(), lm.get_decoder()
    inside = {id(p) for module in (head, decoder) for p in module.parameters()}
    if type(head) is not nn.Linear or any(id(p) not in inside for p in lm.parameters()):
        return False
    tokens_BT = _tokens(lm, sequence_length)
    with mode(lm, training=False):
        output = decoder(input_ids=tokens_BT, use_cache=False)
        hidden_BTD, logits_BTV = output[0], lm(input_ids=tokens_BT, use_cache=False).logits
        if hidden_BTD.shape[-1] != head.in_features or not _close(logits_BTV, head(hidden_BTD)):
            return False
    unit_BTD = torch.randn(hidden_BTD.shape, generator=torch.Generator().manual_seed(0)).to(hidden_BTD)
    unit_BTD /= head(unit_BTD).abs().max()
    with torch.random.fork_rng(devices=[]):  # dropout behind the decoder draws
        return all(
            _close(_logits(lm, tokens_BT, output, size * unit_BTD, training=training), head(size * unit_BTD))
            for training in (False, True)
            for size in LOGIT_SIZES
        )


def _logits(lm: Any, tokens_BT: Tensor, output: Any, hidden_BTD: Tensor, *, training: bool) -> Tensor:
    """What the model makes of `hidden_BTD`: its decoder answers with `output`, but for the hidden states."""
    answer = copy.copy(output)
    if isinstance(answer, tuple):
        answer = (hidden_BTD, *answer[1:])
    else:
        answer[next(iter(answer.keys()))] = hidden_BTD
    decoder = lm.get_decoder()
    decoder.forward = lambda *_, **__: answer  # hides the class's own until it is deleted
    try:
        with mode(lm, training=training):
            return lm(input_ids=tokens_BT, use_cache=False).logits
    finally:
        del decoder.forward


def _close(one: Tensor, other: Tensor) -> bool:
    """Equal but for the order of additions."""
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-5 * other.abs().max())
