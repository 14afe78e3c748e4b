"""How large a domain is, for epochs and limits of repetition: the one place where an export asks."""

from __future__ import annotations

from doremi.corpus.value import Corpus


def domain_tokens(corpus: Corpus, name: str, mapped: int | None, *, is_mapped: bool) -> int | None:
    """Training tokens of a domain: of the user's paths as given or measured (`mapped`), else of what was prepared.

    None where a mapped domain's size is not known: what the search saw may be a sample of it.
    """
    return mapped if is_mapped else corpus.entries[name].train.tokens
