"""What every contestant shares: the shape, the tokens, and a pace that is set from outside.

A contestant is a process of its own, because their dependencies exclude one another. It says "ready" with its
versions, then takes as many steps as each line of its input says and answers "done": so the program that measures
can take them in turn. This file needs nothing but numpy and torch.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from typing import Any

import numpy as np
import torch

VOCAB, LENGTH, BATCH, DOMAINS = 4096, 128, 48, 12
SEQUENCES = BATCH * 200
# Llama's keys; what doremi's preset 1m says, which tests/test_benchmarks.py holds it to
SHAPE: dict[str, Any] = {
    "hidden_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "intermediate_size": 448,
    "tie_word_embeddings": True,
    "vocab_size": VOCAB,
    "max_position_embeddings": LENGTH,
    "use_cache": False,
}


def tokens() -> np.ndarray:
    """The text of everyone: int64 `[sequences, length]`; sequence i belongs to domain i modulo the domains."""
    return np.random.default_rng(0).integers(0, VOCAB, (SEQUENCES, LENGTH))


def arguments(**more: dict[str, Any]) -> argparse.Namespace:
    """The options of a contestant; sets the threads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    for name, options in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    return chosen


class Pace:
    """`step_done()` before the first step and after each; it waits there while others have their turn."""

    def __init__(self, *packages: str) -> None:
        self.left = 0
        self.answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what a library prints must not look like an answer
        self.first = json.dumps({name: importlib.metadata.version(name) for name in ("torch", *packages)})

    def step_done(self) -> None:
        self.left -= 1
        if self.left > 0:
            return
        self.answers.write(f"{self.first or 'done'}\n")
        self.first = ""
        order = sys.stdin.readline()
        if not order:
            os._exit(0)
        self.left = int(order)


def callback(pace: Pace) -> Any:
    """The pace as a callback of a Hugging Face trainer."""
    from transformers import TrainerCallback

    class Paced(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            pace.step_done()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            pace.step_done()

    return Paced()


def trainer_options(folder: str, compiled: bool) -> dict[str, Any]:
    """What every Hugging Face trainer is told: the same optimiser and clipping as ours, and to keep quiet."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": BATCH,
        "max_steps": 10**6,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "torch_compile": compiled,
    }
