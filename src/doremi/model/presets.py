"""Shapes of models by name.

Presets from 0.1m to 30m are Llama shapes for machines without an accelerator, named by their non-embedding parameters;
70m to 8b are the shapes of the paper's table 9 (ungated feed-forward, tied head), named as there, by their total with a
vocabulary of 256,000.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any

from doremi.errors import ConfigError


def _llama(width: int, layers: int, heads: int, feed_forward: int) -> dict[str, Any]:
    return {
        "architecture": "llama",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": feed_forward,
        "tie_word_embeddings": True,
    }


def _paper(layers: int, heads: int, width: int, feed_forward: int) -> dict[str, Any]:
    return {
        "architecture": "gpt2",
        "n_layer": layers,
        "n_head": heads,
        "n_embd": width,
        "n_inner": feed_forward,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "0.1m": _llama(64, 2, 2, 176),
    "0.3m": _llama(96, 3, 3, 256),
    "1m": _llama(160, 3, 5, 448),
    "3m": _llama(256, 4, 4, 704),
    "10m": _llama(384, 6, 6, 1024),
    "30m": _llama(512, 10, 8, 1376),
    "70m": _paper(3, 4, 256, 1024),
    "150m": _paper(6, 8, 512, 2048),
    "280m": _paper(12, 12, 768, 3072),
    "510m": _paper(12, 16, 1024, 8192),
    "760m": _paper(12, 20, 1280, 8192),
    "1b": _paper(16, 32, 2048, 8192),
    "8b": _paper(32, 32, 4096, 24576),
}


def body_parameters(preset: str) -> int:
    """Parameters without embeddings of a Llama preset, by arithmetic: no model is built."""
    one = PRESETS[preset]
    width, layers, feed_forward = one["hidden_size"], one["num_hidden_layers"], one["intermediate_size"]
    return layers * (4 * width**2 + 3 * width * feed_forward + 2 * width) + width


def shape(
    preset: str | None, architecture: str | None, options: dict[str, Any], *, key: str = "model.preset"
) -> dict[str, Any]:
    """The full description of a model: its `architecture` and that architecture's configuration keys.

    `ConfigError` that starts with `key` if there is no such preset.
    """
    if preset is not None and preset not in PRESETS:
        near = _nearest_preset(preset)
        hint = f"did you mean {near!r}? " if near else ""
        raise ConfigError(f"{key}: there is no preset {preset!r}; {hint}There are {', '.join(PRESETS)}")
    base = PRESETS[preset] if preset is not None else {"architecture": architecture}
    return {**base, **options}


def _nearest_preset(name: str) -> str | None:
    """The preset of the nearest size, as a ratio; of the nearest spelling where the name is no size."""
    wanted = _size_of(name.lower())
    if wanted:
        return min(PRESETS, key=lambda preset: abs(math.log(_size_of(preset) / wanted)))
    return next(iter(difflib.get_close_matches(name, PRESETS, n=1)), None)


def _size_of(name: str) -> float:
    """Parameters that a name such as 0.3m or 8b stands for; 0 if it is none."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([kmbt])", name)
    return float(found[1]) * {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}[found[2]] if found else 0.0
