"""Which text is validation, and which of its two halves it belongs to: decided by the hash of the text.

The unit is the piece: a whole document or, of a long one, a part of it. So held-out text comes from many places, a
domain of a few books keeps most of each of them, and no more is held out than was allowed. Many pieces say more than a
few long ones, for what one document tells is mostly of that document. The SHA-256 of a piece gives two independent
numbers: bytes 0 to 7 as a fraction say whether it is held out (where no validation files are given), bytes 8 to 15
whether it is `select` or `report`. Where the share is more than was allowed, or less than `FEWEST` pieces, it is made
smaller or larger. Nothing depends on the order of the documents or on the number of workers.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

HALVES = SELECT, REPORT = 0, 1
DISTINCT = 3  # pieces a domain needs: one each for select, report and training
FEWEST = 64  # pieces that are held out of a domain, where it has them
LARGEST_SHARE = 5  # but of small domains one piece in so many, for the rest is to be trained on
PIECES = 6 * FEWEST  # that the allowed tokens hold, so that `FEWEST` fit where pieces are long or a letter is a token
CHARACTERS = 4  # of a token, about: English text and a vocabulary of some ten thousand entries
SHORTEST = 64  # characters of a piece: some ten words, which two texts hardly share by chance
LONGEST = 1 << 15  # characters of a piece: 8,000 tokens tell as much of a book as all of it
_IS_BLANK = np.array([chr(code).isspace() for code in range(0x3002)])  # no later letter is: the last stands for them


# -- pieces ----------------------------------------------------------------------------------------------------------


def digest_of(text: str) -> bytes:
    """Identity of a text: SHA-256 of it in NFC, as UTF-8, white space collapsed.

    So a copy that an editor re-wrapped, or that composes its accents otherwise, is the same text.
    """
    return hashlib.sha256(" ".join(unicodedata.normalize("NFC", text).split()).encode()).digest()


def digest_of_tokens(data: bytes) -> bytes:
    """Identity of token ids (little-endian uint32) whose text is not exactly known. No text has it."""
    return hashlib.sha256(b"token ids\0" + data).digest()


def document_digest(pieces: list[bytes]) -> bytes:
    """Identity of a document from those of its pieces."""
    return pieces[0] if len(pieces) == 1 else hashlib.sha256(b"".join(pieces)).digest()


def piece_length(max_tokens: int) -> int:
    """Characters of a piece, blanks not counted; documents of up to twice as many are one piece."""
    return max(SHORTEST, min(LONGEST, CHARACTERS * max_tokens // PIECES))


def cut(text: str, length: int) -> list[str]:
    """`text` in pieces that joined are the text, each of `length` to twice `length` characters that are not blank.

    A piece ends at a blank where there is one in its last tenth. White space counts nothing, so that a copy with other
    line breaks is cut at the same words.
    """
    if len(text) <= 2 * length:
        return [text]
    blank = _IS_BLANK[np.minimum(np.frombuffer(text.encode("utf-32-le"), "<u4"), len(_IS_BLANK) - 1)]
    solid = np.cumsum(~blank)  # characters that are not blank, up to each
    ends = solid[blank]  # how many there are before each blank
    bounds, done = [0], 0
    while solid[-1] - done > 2 * length:
        last = np.searchsorted(ends, done + length, side="right") - 1
        at_blank = last >= 0 and ends[last] > done + length - length / 10
        done = int(ends[last]) if at_blank else done + length
        bounds.append(int(np.searchsorted(solid, done, side="right")))
    return [text[start:end] for start, end in zip(bounds, [*bounds[1:], None], strict=True)]


# -- the rule --------------------------------------------------------------------------------------------------------


def _half(digest: bytes) -> int:
    return digest[8] & 1


@dataclass(frozen=True)
class Rule:
    """What may be held out: the share `fraction` of all pieces by hash, and the few in `forced` in any case."""

    fraction: float
    forced: Mapping[bytes, int] = field(default_factory=dict)

    def half(self, digest: bytes) -> int | None:
        """SELECT, REPORT, or None for a piece that is trained on."""
        if digest in self.forced:
            return self.forced[digest]
        return _half(digest) if self.by_hash(digest) else None

    def by_hash(self, digest: bytes) -> bool:
        return int.from_bytes(digest[:8], "big") < self.fraction * 2.0**64


def fewest(pieces: int) -> int:
    """How many are held out, at least, of a domain with so many pieces."""
    return max(2, min(FEWEST, pieces // LARGEST_SHARE))


def make_rule(digests: Iterable[bytes], fraction: float) -> tuple[Rule, int]:
    """The rule for a stream of pieces, and how many distinct ones it saw (counted to `DISTINCT` only).

    Reads until the hash has chosen `FEWEST` and both halves have one, which is soon in a large domain. Where it leaves
    too few to the end, as it does in small domains, the pieces with the smallest digests are held out in any case: the
    rule with a larger fraction, as it were. They are `FEWEST`, or one in `LARGEST_SHARE` of a domain with fewer, and
    `select` and `report` in turn.
    """
    rule, seen = Rule(fraction), _Seen()
    for digest in digests:
        seen.add(digest, by_hash=rule.by_hash(digest))
        if len(seen.chosen) >= FEWEST and len(seen.halves) == len(HALVES) and len(seen.distinct) >= DISTINCT:
            return rule, DISTINCT
    wanted = fewest(len(seen.distinct))
    if len(seen.chosen) < wanted or len(seen.halves) < len(HALVES):
        forced = sorted(seen.smallest)[:wanted]
        rule = Rule(fraction, {digest: HALVES[place % 2] for place, digest in enumerate(forced)})
    return rule, min(DISTINCT, len(seen.distinct))


@dataclass
class _Seen:
    """What must be known of the pieces so far, whatever their number."""

    distinct: set[bytes] = field(default_factory=set)
    """As many as it takes to know that there are enough."""
    chosen: set[bytes] = field(default_factory=set)
    """By the hash, up to `FEWEST`."""
    halves: set[int] = field(default_factory=set)
    smallest: set[bytes] = field(default_factory=set)
    """`FEWEST` digests."""
    largest: bytes = b""
    """Of the smallest."""

    def add(self, digest: bytes, *, by_hash: bool) -> None:
        if len(self.distinct) < FEWEST * LARGEST_SHARE:
            self.distinct.add(digest)
        if by_hash:
            self.halves.add(_half(digest))
            if len(self.chosen) < FEWEST:
                self.chosen.add(digest)
        if len(self.smallest) < FEWEST or digest < self.largest:
            self.smallest.add(digest)
            if len(self.smallest) > FEWEST:
                self.smallest.remove(max(self.smallest))
            self.largest = max(self.smallest)


@dataclass
class _Half:
    """The pieces with the smallest digests, as long as they fit."""

    limit: float
    tokens: int = 0
    pieces: list[tuple[bytes, int]] = field(default_factory=list)
    """In the order of their digests, each with its tokens."""
    bound: bytes = b"\xff" * 33
    """Digests from here on don't fit any more."""

    def add(self, digest: bytes, tokens: int) -> None:
        if tokens > self.limit:
            return  # fits nowhere, and stands in no one's way
        insort(self.pieces, (digest, tokens))
        self.tokens += tokens
        while self.tokens > self.limit:
            self.bound, given_up = self.pieces.pop()
            self.tokens -= given_up


@dataclass
class Holdout:
    """The validation pieces: in each half those with the smallest digests that fit into `max_tokens` / 2.

    So they are drawn from all that is offered, and the order in which it is offered does not matter.
    """

    rule: Rule
    max_tokens: int

    def __post_init__(self) -> None:
        self._halves = (_Half(self.max_tokens / 2), _Half(self.max_tokens / 2))

    def wants(self, digest: bytes) -> bool:
        """Whether this piece may be held out, its size still being unknown."""
        half = self.rule.half(digest)
        return half is not None and digest < self._halves[half].bound

    def offer(self, digest: bytes, tokens: int) -> None:
        """A piece, which must not have been offered before."""
        half = self.rule.half(digest)
        if half is not None and self.wants(digest):
            self._halves[half].add(digest, tokens)

    def kept(self) -> dict[bytes, int]:
        """Of all that was offered, the pieces that are held out and the half of each."""
        return {digest: number for number, half in enumerate(self._halves) for digest, _ in half.pieces}
