"""What mixtures and the models trained on them are called."""

from __future__ import annotations

LEARNED, PER_SEED = "doremi", "doremi-per-seed"  # what main models on found mixtures are called
WITH_SEARCH = "+search"  # added to the name of a mixture whose main model trained on for what the search cost
