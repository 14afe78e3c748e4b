"""Whether a training is long enough for its model: tokens a body parameter.

Body parameters are those without embeddings. The ratio is that of Hoffmann et al. 2022 (Training Compute-Optimal Large
Language Models), about 20 tokens a parameter, which they count with embeddings; in small models these are most of all.
"""

from __future__ import annotations

USUAL = 20.0
FAR_BELOW = USUAL / 2


def few_tokens(size: str, tokens: int, body: int) -> str | None:
    """A warning where models of a size train on far fewer tokens than their body parameters can use."""
    each = tokens / body
    if each >= FAR_BELOW:
        return None
    return (
        f"Models of size {size} train on {in_digits(each)} tokens a body parameter, and {USUAL:.0f} are usual. "
        "What helps so early may not help later. Raise training.steps, or take a smaller model.preset."
    )


def in_digits(each: float) -> str:
    """Tokens a parameter, with as many digits as mean something."""
    return f"{each:.1f}" if each < 9.95 else f"{each:,.0f}"
