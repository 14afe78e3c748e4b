"""What a run asks of each domain beside its text: enough tokens for a sequence, and few that are unknown.

No token depends on it, so it is no part of a corpus's key. It is asked while a corpus is prepared, since that is early,
and of every prepared corpus that a run takes.
"""

from __future__ import annotations

from dataclasses import dataclass

from doremi.corpus.manifest import SplitCounts
from doremi.corpus.value import Corpus
from doremi.diagnostics.health import unknown_share
from doremi.errors import DataError


@dataclass(frozen=True)
class Limits:
    """A domain needs `sequence_length` + 1 training tokens, of which at most the share `max_unknown` is unknown."""

    sequence_length: int
    max_unknown: float


def check(corpus: Corpus, limits: Limits) -> None:
    """`DataError` that names the first domain of a prepared corpus which is not within the limits."""
    for name, entry in corpus.entries.items():
        check_domain(name, entry.train, entry.found.excluded, limits)


def check_domain(name: str, train: SplitCounts, excluded: int, limits: Limits) -> None:
    """The same for one domain; `excluded` documents, or parts of them, are not trained on for what is held out."""
    needed = limits.sequence_length + 1
    if train.tokens < needed:
        why = f" ({excluded:,} documents or parts repeat text that is held out)" * bool(excluded)
        raise DataError(
            f"domain {name!r} has {train.tokens:,} training tokens{why}; one sequence needs {needed:,}: "
            "lower data.sequence_length, add text to the domain, or merge it with another"
        )
    share = unknown_share(train.unknown, train.tokens)
    if share > limits.max_unknown:  # such text looks easy to predict, and is weighed so
        raise DataError(
            f"domain {name!r}: the tokenizer does not know {share:.1%} of its tokens, and data.max_unknown is "
            f"{limits.max_unknown:.1%}; use a tokenizer made for this text, or raise data.max_unknown if you accept it"
        )
