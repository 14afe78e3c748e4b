"""Which documents are validation, and which of its two halves they belong to: decided by the hash of their text.

A document's SHA-256 gives two independent numbers: bytes 0 to 7 as a fraction say whether it is held out (where no
validation files are given), bytes 8 to 15 whether it is `select` or `report`. Neither depends on the order of files,
on other documents or on the number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SELECT, REPORT = 0, 1
DISTINCT = 3  # documents a domain needs: one each for select, report and training


def digest_of(text: bytes) -> bytes:
    """Identity of a document: SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(text).digest()


def _half(digest: bytes) -> int:
    return digest[8] & 1


@dataclass(frozen=True)
class Rule:
    """Who may be held out: the share `fraction` of all documents by hash, and the few in `forced` in any case."""

    fraction: float
    forced: Mapping[bytes, int] = field(default_factory=dict)

    def half(self, digest: bytes) -> int | None:
        """SELECT, REPORT, or None for a training document."""
        if digest in self.forced:
            return self.forced[digest]
        return _half(digest) if self.by_hash(digest) else None

    def by_hash(self, digest: bytes) -> bool:
        return int.from_bytes(digest[:8], "big") < self.fraction * 2.0**64


def make_rule(digests: Iterable[bytes], fraction: float) -> tuple[Rule, int]:
    """The rule for a stream of documents, and how many distinct ones it saw (counted to `DISTINCT` only).

    Reads until both halves have a document, which is soon in a large domain. Where the hash leaves a half empty to
    the end, as it does in small domains, the document with the smallest digest becomes `select` and the one with
    the second smallest `report`: the rule with a larger fraction, as it were, and no more documents than needed.
    """
    rule = Rule(fraction)
    halves: set[int] = set()
    smallest: list[bytes] = []
    for digest in digests:
        if rule.by_hash(digest):
            halves.add(_half(digest))
        smallest = sorted({*smallest, digest})[:DISTINCT]
        if len(halves) == 2 and len(smallest) == DISTINCT:
            return rule, DISTINCT
    if len(halves) < 2:
        rule = Rule(fraction, dict(zip(smallest, (SELECT, REPORT), strict=False)))
    return rule, len(smallest)


@dataclass
class Holdout:
    """The validation documents kept so far: each half takes documents in order until it has `max_tokens` / 2."""

    rule: Rule
    max_tokens: int
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    kept: set[bytes] = field(default_factory=set)

    @property
    def full(self) -> bool:
        return not (self._room(SELECT) or self._room(REPORT))

    def take(self, digest: bytes, tokens: int) -> int | None:
        """The half that keeps this document, or None. The caller has seen that its text is not kept already."""
        half = self.rule.half(digest)
        if half is None or not self._room(half):
            return None
        self.tokens[half] += tokens
        self.kept.add(digest)
        return half

    def _room(self, half: int) -> bool:
        return self.tokens[half] < max(1, self.max_tokens / 2)
