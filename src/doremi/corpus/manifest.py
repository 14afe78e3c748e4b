"""What `corpus/manifest.json` says (docs/formats.md), as values: of each domain, of its splits, of the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SPLIT = {
    "documents": int, "bytes": int, "tokens": int, "unknown": int, "skipped": int, "segments": int, "files": {"*": str},
}  # fmt: skip
_DUPLICATES = {"within": int, "across": int, "dropped": int}
_FOUND = {"empty": int, "excluded": int, "duplicates": _DUPLICATES, "bad": {"*": int}, "left_out": {"*": int}}
_DOMAIN = {"folder": str, "tokens": int, "found": _FOUND, "train": _SPLIT, "validation": _SPLIT, "in_place": {}}
_TOKENIZER = {"source": str, "sha256": str, "vocab_size": int, "end_of_text": str, "end_of_text_id": int}
_TEXTS = {"dtype": str, "fingerprint": str, "key": str, "corpus": str, "share": str}
_SAMPLE = {"units": int, "files": int, "of_files": int, "bytes": int, "of_bytes": int}
_REMARKS = {"longest": int, "special": int}
_MANIFEST = {
    "tokenizer": _TOKENIZER,
    "domains": {"*": _DOMAIN},
    "samples": {"*": _SAMPLE},
    "remarks": {"*": _REMARKS},
    "places": {"*": list},
    **_TEXTS,
}


def wrong_value(manifest: Any) -> str | None:
    """The first key whose value is of another type than it should be, dotted; None if there is none.

    What is missing is told by whoever asks for it (`files.read_json`), and what is unknown is passed over.
    """
    return _wrong(manifest, _MANIFEST, "")


def _wrong(value: Any, expected: Any, key: str) -> str | None:
    """`expected` is a type, or what each key of an object has; `*` stands for any key."""
    if not isinstance(expected, dict):
        return None if isinstance(value, expected) and not isinstance(value, bool) else key
    if not isinstance(value, dict):
        return key
    known = ((name, expected.get(name, expected.get("*"))) for name in value)
    found = (_wrong(value[name], kind, f"{key}.{name}".lstrip(".")) for name, kind in known if kind is not None)
    return next((wrong for wrong in found if wrong is not None), None)


# -- values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SplitCounts:
    """One split of a domain. `bytes` are UTF-8 bytes of the texts, `tokens` count the end-of-text tokens."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    unknown: int = 0
    skipped: int = 0
    segments: int = 0
    """Stretches of the user's files, where the tokens are used in place."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file, by its path in the corpus folder."""


@dataclass(frozen=True)
class Found:
    """What became of a domain's training files, in documents (parts.Counts says what each means)."""

    empty: int = 0
    excluded: int = 0
    within: int = 0
    across: int = 0
    dropped: int = 0
    bad: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Remarks:
    """What a person should know of a domain's texts. No part of the identity of a corpus."""

    longest: int
    """Tokens of the longest training text."""
    special: int
    """Documents with the text of a special token, such as of the end of text."""
    notes: tuple[str, ...] = ()
    """What else is to be said, in sentences."""


@dataclass(frozen=True)
class UsedFile:
    """A file of the user's that tokens are used of. Its `index` and a `sample` of its bytes as SHA-256."""

    type: str
    """Of numpy, with its byte order."""
    bytes: int
    sample: str
    index: str


@dataclass(frozen=True)
class InPlace:
    """The training tokens of a domain that lie in the user's files, in the order of their numbers in train.segments."""

    end: int
    """The id that follows documents which have no end in their file."""
    tokens_sha256: str
    """Of all tokens that are trained on, as train.bin would hold them."""
    files: tuple[UsedFile, ...]


@dataclass(frozen=True)
class DomainEntry:
    """One domain. `tokens` is its size for the natural mixture: held-out text counts where it was split off."""

    folder: str
    train: SplitCounts
    validation: SplitCounts = SplitCounts()
    tokens: int = 0
    found: Found = Found()
    in_place: InPlace | None = None
    """Where the training tokens are used where they lie."""


@dataclass(frozen=True)
class TokenizerEntry:
    """The corpus's tokenizer; `source` is `trained`, or where it was loaded from."""

    source: str
    sha256: str
    vocab_size: int
    end_of_text: str
    end_of_text_id: int


def domain_entry(value: Mapping[str, Any]) -> DomainEntry:
    """A domain of the manifest, of a whole corpus or of what is kept of one, which has training documents alone."""
    train = split_counts(value["train"])
    if "validation" not in value:
        return DomainEntry(value["folder"], train)
    return DomainEntry(
        value["folder"], train, split_counts(value["validation"]), value["tokens"], _found(value["found"]),
        _in_place(value["in_place"]) if "in_place" in value else None,
    )  # fmt: skip


def tokenizer_entry(value: Mapping[str, Any]) -> TokenizerEntry:
    return TokenizerEntry(**{key: value[key] for key in _TOKENIZER})


def split_counts(value: Mapping[str, Any]) -> SplitCounts:
    """A split of the manifest; what is kept of a domain has no bytes and no unknown tokens."""
    known = {key: value[key] for key in ("bytes", "unknown", "skipped", "segments") if key in value}
    return SplitCounts(**known, **{key: value[key] for key in ("documents", "tokens", "files")})


def _in_place(value: Mapping[str, Any]) -> InPlace:
    names = UsedFile.__dataclass_fields__
    files = tuple(UsedFile(**{name: one[name] for name in names}) for one in value["files"])
    return InPlace(value["end"], value["tokens_sha256"], files)


def _found(value: Mapping[str, Any]) -> Found:
    again = value["duplicates"]
    counts = (value["empty"], value["excluded"], again["within"], again["across"], again["dropped"])
    return Found(*counts, bad=value["bad"], left_out=value.get("left_out", {}))
