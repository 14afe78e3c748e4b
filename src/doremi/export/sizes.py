"""How large a domain is, for epochs and limits of repetition: the one place where an export asks."""

from __future__ import annotations

from collections.abc import Iterable

from doremi.corpus.value import Corpus


def domain_tokens(corpus: Corpus, name: str, mapped: int | None, *, is_mapped: bool) -> int | None:
    """Training tokens of a whole domain: of the user's paths as given or measured (`mapped`), else as the run knows it.

    None where a mapped domain's size is not known: what the search saw may be a sample of it.
    """
    return mapped if is_mapped else corpus.sizes[name].train


def parts_read(corpus: Corpus, names: Iterable[str]) -> list[str]:
    """A note on those domains whose token files hold only a part of them."""
    about = {True: "", False: "about "}
    sizes = {name: corpus.sizes[name] for name in names}
    parts = [
        f"{name!r} ({corpus.entries[name].train.tokens:,} of {about[size.exact]}{size.train:,} tokens)"
        for name, size in sizes.items()
        if size.how != "counted"
    ]
    return [f"the token files hold only a part of {', '.join(parts)}: epochs count the whole"] if parts else []
