"""Hugging Face's Trainer, plain: no domains, no reference."""

from __future__ import annotations

import tempfile

import torch
from pace import SHAPE, Pace, arguments, callback, tokens, trainer_options


def main() -> None:
    chosen = arguments()
    pace = Pace("transformers", "accelerate")
    from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainingArguments

    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), attn_implementation="sdpa")
    rows = [{"input_ids": row, "labels": row} for row in torch.from_numpy(tokens())]
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(**trainer_options(folder, chosen.compile), use_cpu=True)
        Trainer(model, settings, train_dataset=rows, callbacks=[callback(pace)]).train()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
