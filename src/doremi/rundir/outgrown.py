"""Samples that are too small for a run: a training repeats them, though it would not repeat the whole domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from doremi.corpus.value import Corpus
from doremi.rundir.graph import Graph
from doremi.rundir.specs import TrainingSpec

_ROOM = 1.02  # a sample of almost as many tokens as are drawn is no repetition to speak of
_SPARE = 1.1  # a sample has about as many tokens as are asked for


@dataclass(frozen=True)
class Outgrown:
    """A domain whose sample a training repeats. `drawn` and `read` are training tokens, `wanted` those to ask for."""

    read: int
    drawn: float
    wanted: int


def outgrown(corpus: Corpus, plan: Graph, share: Fraction) -> dict[str, Outgrown]:
    """The domains of which some known training draws more than was read, but no more than there is.

    `share` is the part of each domain that epoch-matched runs train on, else 1.
    """
    specs = [node.spec for node in plan.nodes if isinstance(node.spec, TrainingSpec)]
    return outgrown_by(corpus, ((spec.weights, spec.tokens) for spec in specs), share)


def outgrown_by(
    corpus: Corpus, trainings: Iterable[tuple[Sequence[float], int]], share: Fraction
) -> dict[str, Outgrown]:
    """The same of trainings by their weights, in the order of the domains, and their tokens."""
    drawn_TK = [[weight * tokens for weight in weights] for weights, tokens in trainings]
    found = {}
    for i, (name, size) in enumerate(corpus.sizes.items()):
        read, most = corpus.training.entries[name].train.tokens, share * size.train
        drawn = max((row_K[i] for row_K in drawn_TK if row_K[i] <= most), default=0.0)
        if size.how != "counted" and drawn > _ROOM * read:
            entry = corpus.entries[name]
            wanted = drawn / float(share) + entry.tokens - entry.train.tokens
            found[name] = Outgrown(read, drawn, _two_digits(_SPARE * wanted))
    return found


def in_words(found: Mapping[str, Outgrown]) -> str | None:
    """One line that says so, and how large a sample would do; None where there is nothing to say."""
    if not found:
        return None
    parts = [f"{name} ({one.drawn / one.read:.1f} times)" for name, one in found.items()]
    wanted = max(one.wanted for one in found.values())
    return (
        f"A training repeats what was read of {', '.join(parts)}, and the whole domain is larger than that. "
        f"This run wants a sample of about {wanted:,} tokens: set data.sample_tokens, or give more of the text."
    )


def _two_digits(number: float) -> int:
    """Rounded up."""
    step = 10 ** max(0, len(str(int(number))) - 2)
    return ceil(number / step) * step
