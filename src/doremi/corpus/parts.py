"""From a domain's files to the texts that are encoded: what may be held out, and what is trained on.

Nothing here writes or encodes. A document is cut into pieces (validation.py); those that are held out in any domain
leave a gap, and what stays on either side of it is a training text of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple

from doremi.corpus.duplicates import DigestSet
from doremi.corpus.excerpt import Excerpt
from doremi.corpus.patterns import File
from doremi.corpus.place import Meter
from doremi.corpus.readers import read_shaped
from doremi.corpus.sampling import SHAPE, Drawn, Units
from doremi.corpus.shape import Shape
from doremi.corpus.size import Sample
from doremi.corpus.sources import DomainFiles, DomainSource, paths
from doremi.corpus.tokenized.reading import Reading
from doremi.corpus.validation import (
    DISTINCT,
    Holdout,
    Rule,
    cut,
    digest_of,
    document_digest,
    make_rule,
    piece_length,
)
from doremi.errors import DataError, Interrupted

SPREAD_BYTES = 32 << 20  # of a larger domain so much is read to choose what is held out, a MiB here and there
MOST_BYTES_A_TOKEN = 8  # text of so many bytes for each token that may be held out is surely enough
METHOD = 3  # part of a corpus's key: raise it when the same files would give other bytes

Stop = Callable[[], bool]


@dataclass(frozen=True)
class PrepareRequest:
    """What to prepare. `tokenizer` is None (train one of `vocab_size` tokens) or a name or path to load.

    `tokenizer_sample_bytes` and `validation_max_tokens` bound the sample over all domains and the validation tokens
    of each; `validation_fraction` is the share of text held out where a domain has no validation files.
    `skip_bad_records` counts records that are no document instead of stopping at them, `drop_duplicates` keeps the
    first of equal documents only. `max_unknown` is the largest share of tokens that the tokenizer may not know.
    `workers` 0 means all cores. A domain needs `sequence_length` + 1 training tokens.
    """

    domains: Mapping[str, DomainSource]
    sequence_length: int
    tokenizer: str | None = None
    vocab_size: int = 8192
    tokenizer_sample_bytes: int = 32 << 20
    validation_fraction: float = 0.01
    validation_max_tokens: int = 1_000_000
    skip_bad_records: bool = False
    drop_duplicates: bool = False
    max_unknown: float = 1.0
    workers: int = 0

    @property
    def piece_length(self) -> int:
        """Characters of a piece that may be held out."""
        return piece_length(self.validation_max_tokens)


class Piece(NamedTuple):
    """What travels with a text through the encoder."""

    digest: bytes
    size: int


@dataclass
class Counts:
    """What of a domain's training files became no training text, or came more than once."""

    empty: int = 0
    excluded: int = 0
    """Documents, or parts of them, that repeat text held out here or in another domain."""
    within: int = 0
    """Documents that came before in this domain."""
    across: int = 0
    """Documents that came in a domain before this one."""
    dropped: int = 0
    """Of these, those that were left out."""
    bad: Counter[str] = field(default_factory=Counter)
    """Records that are no document, by reason."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Documents that were not asked for, by reason."""
    special: int = 0
    """Documents with the text of a special token."""
    documents: DigestSet = field(default_factory=DigestSet)
    """All documents that the domain has."""

    def record(self) -> dict[str, Any]:
        duplicates = {"within": self.within, "across": self.across, "dropped": self.dropped}
        return {
            "empty": self.empty,
            "excluded": self.excluded,
            "duplicates": duplicates,
            "bad": dict(sorted(self.bad.items())),
            **({"left_out": dict(sorted(self.left_out.items()))} if self.left_out else {}),
        }


@dataclass(frozen=True)
class DomainPlan:
    """A domain whose files exist and whose validation rule is known."""

    name: str
    source: DomainSource
    files: DomainFiles
    rule: Rule
    request: PrepareRequest
    drawn: Drawn | None = None
    """The sample that its training file is, where only a sample is read."""
    meter: Meter = field(default_factory=Meter)
    """How far the reading is that goes on."""
    tokens: Reading | None = None
    """Of a domain whose files hold tokens: these."""
    excerpt: Excerpt | None = None
    """The part that is read of its only training file; None for all."""

    @property
    def sample(self) -> Sample | None:
        """What was read of its training files; None for all."""
        if self.tokens is not None:
            return self.tokens.sample
        return None if self.drawn is None else self.drawn.sample

    @property
    def read_bytes(self) -> int:
        """How far the reading is that goes on, in bytes of its files."""
        if self.tokens is None:
            return self.meter.bytes
        sides = (self.tokens.train, self.tokens.validation)
        return max(side.meter.bytes for side in sides if side is not None)

    def texts(self, files: list[File], stop: Stop, found: Counts | None = None) -> Generator[str, None, None]:
        """Documents with text or without; what is left out, or skipped, is counted in `found`."""
        found = Counts() if found is None else found
        if self.tokens is not None:
            for text in self.tokens.texts(validation=files is self.files.validation):
                self.check(stop)
                yield text
            return
        documents = read_shaped(
            paths(files), shape=self.shape_of(files), domain=self.name, meter=self.meter,
            skipped=found.bad if self.request.skip_bad_records else None, left_out=found.left_out,
            excerpt=self.excerpt,
        )  # fmt: skip
        for document in documents:
            self.check(stop)
            yield document.text

    def shape_of(self, files: list[File]) -> Shape:
        """What of a record of these files is the document."""
        own = self.drawn is None or files is not self.files.train
        return self.source.shape if own else SHAPE

    def check(self, stop: Stop) -> None:
        """`Interrupted` where somebody has asked to stop."""
        if stop():
            raise Interrupted(f"stopped while reading domain {self.name!r}")

    def pieces(self, files: list[File], stop: Stop, found: Counts | None = None) -> Generator[str, None, None]:
        for text in self.texts(files, stop, found):
            yield from self.cut(text)

    def cut(self, text: str) -> list[str]:
        """Pieces of a document; those without text are none."""
        return [piece for piece in cut(text, self.request.piece_length) if has_text(piece)]


def make_plan(
    name: str, files: DomainFiles, request: PrepareRequest, stop: Stop, drawn: Drawn | None = None,
    tokens: Reading | None = None,
) -> DomainPlan:  # fmt: skip
    """Read as far as the validation rule needs, so that most mistakes show before any work.

    Training text is what was `drawn` of its files, where only a sample is read."""
    source = request.domains[name]
    if drawn is not None:
        files = replace(files, train=[drawn.file])
    given = bool(files.validation)
    fraction = 1.0 if given else request.validation_fraction
    plan, found = DomainPlan(name, source, files, Rule(fraction), request, drawn, tokens=tokens), Counts()
    if tokens is not None:
        rule, distinct = make_rule(tokens.digests(), fraction)
    else:
        with closing(plan.pieces(files.validation or files.train, stop, found)) as pieces:
            rule, distinct = make_rule(map(digest_of, pieces), fraction)
    left = f" ({counted_words(found.left_out)} are left out)" if found.left_out else ""
    if given and distinct < 2:
        raise DataError(
            f"domain {name!r}: its validation files hold {_count(distinct)}{left}; at least 2 different ones are needed"
        )
    if not given and distinct < DISTINCT:
        raise DataError(
            f"domain {name!r} has {_count(distinct)}{left}; give it at least {DISTINCT} different ones, or longer "
            "ones, or validation files"
        )
    return replace(plan, rule=rule)


def counted_words(reasons: Mapping[str, int]) -> str:
    """`1,200 where language, 34 .png in an archive`."""
    return ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())


def _count(documents: int) -> str:
    return f"{documents or 'no'} document{'' if documents == 1 else 's'} with text"


def has_text(text: str) -> bool:
    return bool(text) and not text.isspace()


def sample(plan: DomainPlan, share: int, stop: Stop) -> Iterator[str]:
    """The first `share` bytes of a domain's training text, without what may be held out."""
    left = share

    def may_be_held_out(digest: bytes) -> bool:
        return not plan.files.validation and plan.rule.half(digest) is not None

    with closing(plan.texts(plan.files.train, stop)) as texts:
        for text in texts:
            for part in _parts(plan.cut(text), may_be_held_out):
                data = part.encode()
                yield data[:left].decode(errors="ignore")
                left -= len(data)
                if left <= 0:
                    return


def _parts(pieces: list[str], leave_out: Callable[[bytes], bool]) -> Iterator[str]:
    """What is left of a document: the longest parts of it without a piece that is left out."""
    for kept, run in groupby(pieces, lambda piece: not leave_out(digest_of(piece))):
        if kept:
            yield "".join(run)


@dataclass
class Shared:
    """What one domain must know of the others."""

    held: set[bytes] = field(default_factory=set)
    """Pieces that may be trained on nowhere."""
    seen: DigestSet = field(default_factory=DigestSet)
    """Documents of the domains before this one."""


def candidates(plan: DomainPlan, holdout: Holdout, given: set[bytes], stop: Stop) -> Iterator[tuple[str, Piece]]:
    """Pieces that may be held out, each once; those of validation files join `given`, wanted or not.

    What is read does not depend on how far the holdout is, so the same pieces come for any number of workers.
    """
    seen: set[bytes] = set()
    sizes = [0, 0]
    for piece in _offered(plan, stop, lambda: min(sizes) >= MOST_BYTES_A_TOKEN * holdout.max_tokens / 2):
        digest = digest_of(piece)
        if plan.files.validation:
            given.add(digest)
        half = plan.rule.half(digest)
        if half is None or digest in seen:
            continue
        seen.add(digest)
        sizes[half] += (size := len(piece.encode()))
        if holdout.wants(digest):
            yield piece, Piece(digest, size)


def _offered(plan: DomainPlan, stop: Stop, enough: Callable[[], bool]) -> Iterator[str]:
    """The domain's pieces; of a large one those of places all over it, until there are enough."""
    files = plan.files.validation or plan.files.train
    if plan.tokens or plan.files.validation or sum(file.size for file in files) <= SPREAD_BYTES:
        yield from plan.pieces(files, stop)
        return
    units = Units(plan.name, files, plan.shape_of(files), skip_bad=plan.request.skip_bad_records)
    for unit in units.all():
        for text in unit:
            plan.check(stop)
            yield from plan.cut(text)
        if units.bytes >= SPREAD_BYTES and enough():
            return


class Trained(NamedTuple):
    """A document as it is trained on."""

    digest: bytes
    parts: list[str]
    """Its text without the pieces that are held out anywhere."""
    excluded: int
    """How many pieces these are."""


def documents(
    plan: DomainPlan, held: Set[bytes], found: Counts, stop: Stop, special: re.Pattern[str] | None = None
) -> Generator[Trained, None, None]:
    """Training documents with text, in order. `held`: pieces that may be trained on nowhere. `special`: what is counted
    as such."""
    for text in plan.texts(plan.files.train, stop, found):
        if not has_text(text):
            found.empty += 1
            continue
        found.special += special is not None and special.search(text) is not None
        pieces = cut(text, plan.request.piece_length)
        digests = [digest_of(piece) for piece in pieces]
        parts, excluded = [], 0
        for is_held, run in groupby(zip(pieces, digests, strict=True), lambda pair: pair[1] in held):
            part = [piece for piece, _ in run]
            if is_held:
                excluded += len(part)
            else:
                parts.append("".join(part))
        yield Trained(document_digest(digests), parts, excluded)


def training_parts(plan: DomainPlan, shared: Shared, found: Counts, stop: Stop) -> Iterator[tuple[str, Piece]]:
    """Training text in order, without what is held out anywhere and, if so asked, without documents that come again."""
    for document in documents(plan, shared.held, found, stop):
        if comes_again(document.digest, shared, found) and plan.request.drop_duplicates:
            found.dropped += 1
            continue
        found.excluded += document.excluded
        for part in document.parts:
            yield part, Piece(document.digest, len(part.encode()))


def comes_again(document: bytes, shared: Shared, found: Counts) -> bool:
    """Whether a document was there before; it is counted, and is from now on."""
    within, across = document in found.documents, document in shared.seen
    found.within += within
    found.across += across and not within
    found.documents.add(document)
    return within or across
