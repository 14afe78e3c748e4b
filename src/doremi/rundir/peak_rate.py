"""The peak learning rate of each size of model.

Of models that are alike but for their width, a wider one wants a lower rate, in inverse proportion (Yang et al. 2022,
arXiv:2203.03466). So one number serves all sizes. It was measured at widths of 96 to 256 (docs/results/recipe.md).
"""

from __future__ import annotations

from doremi.config import RunConfig
from doremi.errors import ConfigError
from doremi.rundir.weights import shape_of

RATE_TIMES_WIDTH = 0.7
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
    return float(f"{RATE_TIMES_WIDTH / width:.3g}")
