"""The floor: a model, a loss, a fused AdamW; nothing is scored, weighted or recorded.

`--stand-in` takes the model that the official trainer is given instead of the one from transformers.
"""

from __future__ import annotations

import itertools

import torch
from pace import BATCH, SHAPE, Pace, arguments, tokens
from torch.nn import functional


def main() -> None:
    chosen = arguments(stand_in={"action": "store_true"})
    pace = Pace("transformers")
    if chosen.stand_in:
        from llama import Llama

        model: torch.nn.Module = Llama(SHAPE)
    else:
        from transformers import AutoModelForCausalLM, LlamaConfig

        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), attn_implementation="sdpa")

    def losses(input_BT: torch.Tensor) -> torch.Tensor:
        answer = model(input_BT)
        logits_BTV = answer if chosen.stand_in else answer.logits
        return functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), input_BT[:, 1:].flatten())

    step = torch.compile(losses, dynamic=False) if chosen.compile else losses
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    batches = torch.from_numpy(tokens()).split(BATCH)
    pace.step_done()
    for batch in itertools.cycle(batches):
        step(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        pace.step_done()


if __name__ == "__main__":
    main()
