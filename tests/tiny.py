"""A corpus and a configuration that train in seconds, for tests that need the whole machine to turn."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from doremi.config import RunConfig, load
from doremi.events.event import Event, Stepped
from doremi.events.stream import Watch
from doremi.events.words import sentence

DOMAINS = ("prose", "code", "digits")


def write_corpus(root: Path, documents: int = 60) -> Path:
    """Three domains of generated text, JSON lines; the same bytes on any machine."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 7))) for _ in range(80)]
    make = {
        "prose": lambda: " ".join(rng.choices(words, k=rng.randint(20, 60))) + ".",
        "code": lambda: "\n".join(
            f"def {rng.choice(words)}({rng.choice(words)}):\n    return {rng.choice(words)} + {rng.randint(0, 9)}"
            for _ in range(rng.randint(3, 9))
        ),
        "digits": lambda: " ".join(str(rng.randint(0, 10**6)) for _ in range(rng.randint(20, 50))),
    }
    for name in DOMAINS:
        folder = root / name
        folder.mkdir(parents=True)
        lines = [json.dumps({"text": make[name]()}) for _ in range(documents * (2 if name == "prose" else 1))]
        (folder / "text.jsonl").write_text("\n".join(lines) + "\n")
    return root


BEFORE = {"schedule": "exponential", "final_learning_rate": 0.1, "warmup": 0.06, "beta1": 0.9, "beta2": 0.99,
          "initial_spread": 1.0}  # fmt: skip
"""The recipe that figures in tests were recorded with."""


def tiny_values(corpus: Path, runs: Path) -> dict[str, Any]:
    """Plain values of a run of 20 steps on the corpus."""
    return {
        "name": "tiny",
        "runs": str(runs),
        "workers": 1,  # where it matters tests ask for more: workers take longer to load than a tiny model to train
        "data": {
            "domains": {name: str(corpus / name) for name in DOMAINS},
            "vocab_size": 300,
            "sequence_length": 16,
            "validation_max_tokens": 300,
            "workers": 1,
        },
        "model": {
            "preset": None,
            "architecture": "llama",
            "options": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "tie_word_embeddings": True,
            },
        },
        "training": {
            **BEFORE,
            "steps": 20,
            "batch_size": 8,
            "learning_rate": 0.01,
            "log_every": 5,
            "evaluate_every": 10,
            "checkpoint_every": 6,
            "threads": 1,
            "precision": "float32",
            "compile": False,
        },
        "candidates": {"mixtures": ["doremi", "natural", "uniform"], "seeds": 1},
    }


def write_tiny(path: Path, corpus: Path, runs: Path, **changes: Any) -> Path:
    """Write the configuration, with whole sections merged in from `changes`."""
    values = tiny_values(corpus, runs)
    for key, change in changes.items():
        values[key] = {**values.get(key, {}), **change} if isinstance(change, dict) else change
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def tiny_config(folder: Path, corpus: Path, **changes: Any) -> RunConfig:
    """A loaded configuration whose run directory lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return load(write_tiny(folder / "tiny.yaml", corpus, folder / "runs", **changes))


class Silent(Watch):
    """A watch that shows nothing and asks to stop after a given number of steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left = stop_after
        self.messages: list[str] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Stepped) and self.left is not None:
            self.left -= 1
        self.messages += [line for line in [sentence(event)] if line is not None]

    def stop_requested(self) -> bool:
        return self.left is not None and self.left <= 0
