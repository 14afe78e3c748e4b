"""A sample of a domain: parts of its files, spread over all of them, the same whoever draws it.

Every file is as many slots as it has MiB, and slots are taken in the order of a hash of the file's relative path and
the slot's number. So a larger sample contains a smaller one, and no file is opened that is not read. What a slot
stands for is a unit:

    lines, unpacked     the lines that begin in that MiB
    Parquet             the row group that lies there, with equal groups (small ones: all that lie there)
    a small file        all of it, as of a text
    anything else       its beginning, such as that of a packed file: more of it for every slot that is taken

A unit is read once and whole. The texts are written into one file, which then is the domain's training file.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from doremi.corpus.encoding import Encoder, Spec
from doremi.corpus.excerpt import Excerpt
from doremi.corpus.formats import is_packed
from doremi.corpus.patterns import File
from doremi.corpus.place import Meter
from doremi.corpus.readers import read_shaped
from doremi.corpus.shape import Shape
from doremi.corpus.size import Sample, sample_of
from doremi.corpus.sources import DomainFiles, DomainSource
from doremi.corpus.store import disk_errors
from doremi.corpus.tables import parquet_footer
from doremi.errors import DoremiError, Interrupted
from doremi.files import FORMAT, key_of, read_json, write_json
from doremi.mixture.domains import folder_name

SLOT = 1 << 20  # bytes of a file
SHAPE = Shape()  # of the file that a sample is written into
BYTES_PER_TOKEN = 3.5  # of a byte-level BPE with 8,192 entries on English text, where no tokenizer can be asked
RATE_TEXT = 1 << 18  # bytes of text that a tokenizer is asked about
_PACKED = 4  # bytes of text for each byte of a packed file, at least: of each slot's share of a beginning

Rate = Callable[[list[str]], float]
Stop = Callable[[], bool]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Drawn:
    """A sample that was drawn: the file that holds it, in place of the domain's training files."""

    file: File
    sample: Sample | None
    """None where it is all that there is."""
    text: int
    """UTF-8 bytes of its texts."""
    bad: Counter[str] = field(default_factory=Counter)
    """Records that are no document, by reason."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Documents that were not asked for, by reason."""


def order(files: list[File]) -> Iterator[tuple[File, int]]:
    """All slots of the files in the order in which they are taken."""
    counts = np.array([_slots(file) for file in files])
    seeds = np.array([int.from_bytes(hashlib.sha256(file.name.encode()).digest()[:8], "little") for file in files])
    owner = np.repeat(np.arange(len(files)), counts)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    hashed = _mixed(seeds.astype(np.uint64)[owner], number.astype(np.uint64))
    for place in np.argsort(hashed, kind="stable").tolist():
        yield files[owner[place]], int(number[place])


def _slots(file: File) -> int:
    return max(1, -(-file.size // SLOT))


def _mixed(seed: np.ndarray, number: np.ndarray) -> np.ndarray:
    """A hash of pairs of 64 bits: SplitMix64 (Steele, Lea and Flood 2014), from a seed, after so many steps."""
    with np.errstate(over="ignore"):
        mixed = seed + (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


# -- drawing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draw:
    """What is to be drawn of a domain."""

    name: str
    source: DomainSource
    files: list[File]
    tokens: int
    skip_bad: bool = False

    @property
    def key(self) -> str:
        """What a sample depends on, but for the tokenizer's rate."""
        looks = [(file.path, file.name, file.size, file.version) for file in self.files]
        return key_of([looks, self.source.text_field, self.tokens, self.skip_bad, SLOT, *self.source.said])


def draw(what: Draw, path: Path, *, rate: Rate | None, stop: Stop, progress: Progress | None = None) -> Drawn:
    """Write a sample of about so many tokens to `path`; `rate` gives the bytes a token of some texts.

    One that is there already is taken again. `DataError` for files that cannot be read.
    """
    if (found := _drawn_before(what, path)) is not None:
        return found
    units = Units(what.name, what.files, what.source.shape, skip_bad=what.skip_bad)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        with path.open("wb") as file:
            writing = _Writing(what, file, rate)
            for unit in units.all():
                for one in unit:
                    if stop():
                        raise Interrupted(f"stopped while reading domain {what.name!r}")
                    writing.add(one)
                if progress is not None and writing.enough is not None:
                    progress(min(writing.text, writing.enough), writing.enough)
                if writing.done:
                    break
            else:
                units.complete = True
    drawn = Drawn(_file(path, writing.sha.hexdigest()), units.sample(), writing.text, units.bad, units.left_out)
    _record(what, drawn, path)
    return drawn


@dataclass
class _Writing:
    """The file of a sample, and how much of it is enough."""

    what: Draw
    file: BinaryIO
    rate: Rate | None
    text: int = 0
    enough: int | None = None
    """Bytes of text that hold the tokens that are asked for, about; None until the tokenizer can be asked."""
    sha: Any = field(default_factory=hashlib.sha256)
    held: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        line = orjson.dumps({SHAPE.text_field: text}) + b"\n"
        self.file.write(line)
        self.sha.update(line)
        self.text += len(text.encode())
        if self.enough is None:
            self.held.append(text)
            if self.text >= min(RATE_TEXT, self.what.tokens):
                each = BYTES_PER_TOKEN if self.rate is None else self.rate(self.held)
                self.enough = max(1, round(self.what.tokens * each))
                self.held.clear()

    @property
    def done(self) -> bool:
        return self.enough is not None and self.text >= self.enough


def _file(path: Path, version: str) -> File:
    return File(str(path), path.name, path.stat().st_size, version, str(path), explicit=True)


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn, the same for all domains: where they are written, and how fast text becomes tokens."""

    folder: Path
    rate: Rate | None
    stop: Stop
    skip_bad: bool = False
    progress: Callable[[str, int, int], None] | None = None
    most: int | None = None
    """Tokens of a domain at most, for an estimate."""

    def place(self, domain: str) -> Path:
        """The file that a sample is written into."""
        return self.folder / folder_name(domain) / "sample.jsonl"

    def of(self, name: str, source: DomainSource, files: DomainFiles) -> Drawn | None:
        """The sample of a domain; None where it is read whole, or holds tokens."""
        if source.sample_tokens is None or source.ids is not None:
            return None
        tokens = min(source.sample_tokens, self.most or source.sample_tokens)
        tell = self.progress
        progress = None if tell is None else lambda done, total: tell(f"{name}, sample", done, total)
        what = Draw(name, source, files.train, tokens, self.skip_bad)
        return draw(what, self.place(name), rate=self.rate, stop=self.stop, progress=progress)

    def forget(self, domain: str) -> None:
        """Remove the sample: its text is tokenized."""
        for suffix in (".jsonl", ".json"):
            self.place(domain).with_suffix(suffix).unlink(missing_ok=True)


def rate_of(spec: Spec) -> Rate:
    """Bytes of text for each token of a tokenizer."""

    def rate(texts: list[str]) -> float:
        with Encoder(spec, 1) as encoder:
            size = sum(len(found.tokens) for found in encoder.encode((text, None) for text in texts))
        tokens = size // (2 if spec.dtype == "uint16" else 4)
        return sum(len(text.encode()) for text in texts) / max(1, tokens)

    return rate


def _drawn_before(what: Draw, path: Path) -> Drawn | None:
    try:
        found = read_json(path.with_suffix(".json"), "record of a sample")
        if found["key"] != what.key or path.stat().st_size != found["size"]:
            return None
        sample = None if found["sample"] is None else sample_of(found["sample"])
        return Drawn(
            _file(path, found["version"]), sample, found["text"], Counter(found["bad"]), Counter(found["left_out"])
        )
    except (DoremiError, OSError, KeyError):
        return None


def _record(what: Draw, drawn: Drawn, path: Path) -> None:
    sample = None if drawn.sample is None else asdict(drawn.sample)
    value = {"format": FORMAT, "key": what.key, "size": drawn.file.size, "version": drawn.file.version}
    with disk_errors(path):
        counts = {"text": drawn.text, "bad": drawn.bad, "left_out": drawn.left_out}
        write_json(path.with_suffix(".json"), {**value, "sample": sample, **counts})


# -- units -----------------------------------------------------------------------------------------------------------


class Units:
    """The units of a domain's files in their order, each read once, and what was read of the files."""

    def __init__(self, domain: str, files: list[File], shape: Shape, *, skip_bad: bool) -> None:
        self.complete = False
        self.bad: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._domain, self._files, self._shape, self._skip_bad = domain, files, shape, skip_bad
        self._read: Counter[str] = Counter()  # bytes, by path
        self._number = 0
        self._packed = False
        self._tables: dict[str, _Table] = {}
        self._beginnings: dict[str, _Beginning] = {}

    def all(self) -> Iterator[Iterator[str]]:
        """The texts of one unit after the other; at the end, what was left of files that are longer than they look."""
        for file, slot in order(self._files):
            if (unit := self._unit(file, slot)) is not None:
                yield unit
        for beginning in self._beginnings.values():
            while not beginning.whole:
                yield self._more(beginning)

    @property
    def bytes(self) -> int:
        """Of the files that were read, packed ones as they lie on the disk, with those of the unit that is begun."""
        return sum(self._read.values())

    def sample(self) -> Sample | None:
        """What of the files was read; None for all."""
        of_bytes = sum(file.size for file in self._files)
        beginnings = all(beginning.whole for beginning in self._beginnings.values())
        if self.complete or (beginnings and self.bytes >= of_bytes):
            return None
        number = (len(self._read), len(self._files), self.bytes, of_bytes)
        return Sample(self._number, *number, packed=self._packed)

    def _unit(self, file: File, slot: int) -> Iterator[str] | None:
        """What a slot stands for; None where that is read already."""
        form = file.format
        if form is not None and form.container == "parquet":
            return self._row_groups(file, slot)
        if file.size <= SLOT or (form is not None and form.container == "text"):
            return self._count(file, file.size, self._texts(file)) if not self._read[file.path] else None
        if form is not None and form.container == "lines" and not form.packing:
            span = (slot * SLOT, min(file.size, (slot + 1) * SLOT))
            return self._count(file, span[1] - span[0], self._texts(file, Excerpt(span=span)))
        beginning = self._beginnings.setdefault(file.path, _Beginning(file))
        beginning.slots += 1
        return self._more(beginning) if beginning.wanted > beginning.read and not beginning.whole else None

    def _count(self, file: File, size: int, texts: Iterator[str]) -> Iterator[str]:
        self._read[file.path] += size
        self._number += 1
        return texts

    def _texts(self, file: File, excerpt: Excerpt | None = None, meter: Meter | None = None) -> Iterator[str]:
        found = read_shaped(
            [file.path],
            shape=self._shape,
            domain=self._domain,
            skipped=self.bad if self._skip_bad else None,
            left_out=self.left_out,
            meter=meter,
            excerpt=excerpt,
        )
        with closing(found):  # pyright: ignore[reportArgumentType]
            for document in found:
                yield document.text

    def _row_groups(self, file: File, slot: int) -> Iterator[str] | None:
        if (table := self._tables.get(file.path)) is None:
            table = self._tables[file.path] = _Table(file, self._domain)
        groups = table.take(slot)
        if not groups:
            return None
        size = round(file.size * table.share(groups))
        return self._count(file, size, self._texts(file, Excerpt(row_groups=groups, footer=table.footer)))

    def _more(self, beginning: _Beginning) -> Iterator[str]:
        """The texts between what was read of a beginning and twice as much."""
        self._number += 1
        self._packed |= is_packed(beginning.file.path)
        meter, before, size = Meter(), beginning.documents, 0
        limit = max(beginning.wanted, 2 * beginning.read)
        with closing(self._texts(beginning.file, meter=meter)) as texts:  # pyright: ignore[reportArgumentType]
            for number, text in enumerate(texts):
                size += len(text.encode())
                if number < before:
                    continue
                beginning.documents = number + 1
                yield text
                if size >= limit:
                    beginning.read = size
                    self._read[beginning.file.path] = min(beginning.file.size, max(1, meter.bytes))
                    return
        beginning.whole = True
        self._read[beginning.file.path] = beginning.file.size


@dataclass
class _Beginning:
    """How far a file is read that can only be read from its beginning. Each reading goes twice as far as the last."""

    file: File
    slots: int = 0
    """That were taken of it."""
    documents: int = 0
    read: int = 0
    """Bytes of text."""
    whole: bool = False

    @property
    def wanted(self) -> int:
        """Bytes of text for the slots that were taken."""
        return self.slots * SLOT * (_PACKED if is_packed(self.file.path) else 1)


class _Table:
    """The row groups of a Parquet file: which slots they lie in, and which are read. Opens it once, for its footer."""

    def __init__(self, file: File, domain: str) -> None:
        self._slots = _slots(file)
        self.footer: Any = parquet_footer(file.path, domain)
        self._taken: set[int] = set()

    def take(self, slot: int) -> tuple[int, ...]:
        """The row groups that lie in a slot, of equal ones, without those that were taken before."""
        number = self.footer.num_row_groups
        first = slot * number // self._slots
        groups = range(first, max(first + 1, (slot + 1) * number // self._slots))
        new = tuple(group for group in groups if group not in self._taken and group < number)
        self._taken.update(new)
        return new

    def share(self, groups: tuple[int, ...]) -> float:
        """Of the file's bytes, unpacked."""
        sizes = [self.footer.row_group(i).total_byte_size for i in range(self.footer.num_row_groups)]
        return sum(sizes[group] for group in groups) / max(1, sum(sizes))
