"""The peak learning rate of each size of model.

A wider model wants a lower rate, in inverse proportion where nothing else changes (Yang et al. 2022, arXiv:2203.03466).
A larger model is also trained for longer, which lowers it further. Sweeps at widths of 64 to 256, each with as many
tokens a body parameter, agree with a power of 1.5 (docs/results/recipe.md).
"""

from __future__ import annotations

from doremi.config import RunConfig
from doremi.errors import ConfigError
from doremi.rundir.weights import shape_of

BASE_RATE, BASE_WIDTH, POWER = 0.0076, 96, 1.5
WIDTHS = ("hidden_size", "n_embd", "d_model")
"""What families of models call the length of the vectors between their blocks."""


def peak_rate(config: RunConfig, size: str | None = None) -> float:
    """Of the proxy's model, or of a candidate's size; `ConfigError` where `auto` does not know the width."""
    training, size = config.training, size or config.size_name
    rate = training.learning_rates.get(size, training.learning_rate)
    if rate != "auto":
        return float(rate)
    shape = shape_of(config, size)
    width = next((shape[key] for key in WIDTHS if isinstance(shape.get(key), int)), None)
    if width is None:
        raise ConfigError(
            "training.learning_rate: auto needs the width of the model. "
            "Set model.options.hidden_size, or give a rate, such as 0.001"
        )
    return float(f"{BASE_RATE * (BASE_WIDTH / width) ** POWER:.3g}")
