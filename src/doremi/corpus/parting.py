"""Files with documents of all domains: in one pass, each domain gets a packed file of its own.

The preparation goes on with these files, and removes them at its end. So whatever is read more than once, to hold text
out or to train a tokenizer, is never looked for among the documents of other domains.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import zstandard

from doremi.corpus.patterns import File
from doremi.corpus.place import Meter, some
from doremi.corpus.readers import read_shaped
from doremi.corpus.shape import Document
from doremi.corpus.sources import DomainFiles, DomainSource, Part, paths
from doremi.corpus.store import disk_errors
from doremi.errors import DataError, Interrupted, one_line
from doremi.files import FORMAT, read_json, write_json

FOLDER = ".parted"
EMPTY = "no value"
_LEVEL = 1  # of zstd: several hundred MB a second
_NAMES = 1000  # other values that are counted by name
_EVERY = 1 << 20  # bytes of files between two reports
OTHERS = "further values"

Reading = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Parted:
    """Each domain with a file of its own; `share` is how much of the shared files was read."""

    sources: Mapping[str, DomainSource]
    found: Mapping[str, DomainFiles]
    left_out: Mapping[str, int]
    """Documents of no domain: those that no filter lets pass, and those of other values of the field."""
    bad: Mapping[str, int]
    share: float = 1.0

    @property
    def of_no_domain(self) -> dict[str, Mapping[str, int]]:
        """What sources.json says of it; nothing where nothing is left."""
        return {"left_out": self.left_out, "bad": self.bad} if self.left_out or self.bad else {}


@dataclass(frozen=True)
class Pass:
    """How the pass goes: `key` is what the files depend on, `limit` bytes of text are enough, bad records are skipped
    or end it."""

    key: str
    skip_bad_records: bool
    stop: Callable[[], bool]
    progress: Reading = lambda what, done, total: None
    limit: int | None = None


def part_files(
    sources: Mapping[str, DomainSource], found: Mapping[str, DomainFiles], folder: Path, how: Pass
) -> Parted:
    """Part shared files into `folder`, unless a finished pass with the same key is there; files of domains that share
    none stay as they are. `DataError` for a domain without documents."""
    first = next(iter(sources.values()))
    if first.part is None:
        return Parted(sources, found, {}, {})
    with disk_errors(folder):
        counts = _finished(folder, how.key) or _parted(sources, found, folder, how)
    files = {name: _files(folder, number, counts, how.key) for number, name in enumerate(sources)}
    for name, of_domain in files.items():
        if not of_domain.train:
            raise _nothing(name, first.part.field, sources[name], counts)
    own = {
        name: DomainSource(paths(one.train), paths(one.validation), sample_tokens=sources[name].sample_tokens)
        for name, one in files.items()
    }
    return Parted(own, files, counts["left_out"], counts["bad"], counts["share"])


def _finished(folder: Path, key: str) -> dict[str, Any] | None:
    """What a pass that came to its end has counted."""
    record = folder / "parted.json"
    if not record.exists():
        return None
    counts = read_json(record, "record of parted files")
    return counts if counts["key"] == key else None


def _parted(
    sources: Mapping[str, DomainSource], found: Mapping[str, DomainFiles], folder: Path, how: Pass
) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files, work = next(iter(found.values())), _Work(sources, how)
    share = work.read(files.train, folder, "train")
    work.read(files.validation, folder, "validation")
    counts = {
        "key": how.key,
        "share": share,
        "documents": work.documents,
        "left_out": dict(sorted(work.left_out.items())),
        "bad": dict(sorted(work.bad.items())),
    }
    write_json(folder / "parted.json", {"format": FORMAT, **counts})
    return counts


class _Writers:
    """A packed file of JSON lines for each domain that has a document."""

    def __init__(self, folder: Path, side: str) -> None:
        self._folder, self._side = folder, side
        self._open: dict[int, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, number: int, text: str) -> int:
        """Bytes of the line that is added."""
        if number not in self._open:
            raw = self._stack.enter_context((self._folder / _name(number, self._side)).open("wb"))
            packer = zstandard.ZstdCompressor(_LEVEL).stream_writer(raw, closefd=False)
            self._open[number] = self._stack.enter_context(packer)
        line = orjson.dumps({"text": text}) + b"\n"
        self._open[number].write(line)
        return len(line)


class _Work:
    """What the pass counts over both sides."""

    def __init__(self, sources: Mapping[str, DomainSource], how: Pass) -> None:
        self.sources, self.how = sources, how
        first = next(iter(sources.values()))
        assert first.part is not None
        self.part: Part = first.part
        self.shape = first.shape
        self.numbers = {
            value: number
            for number, source in enumerate(sources.values())
            for value in (source.part.values if source.part else ())
        }
        self.others = list(sources).index(self.part.others) if self.part.others in sources else None
        self.left_out: Counter[str] = Counter()
        self.bad: Counter[str] = Counter()
        self.documents = {"train": [0] * len(sources), "validation": [0] * len(sources)}

    def read(self, files: list[File], folder: Path, side: str) -> float:
        """Part one side; the share of its bytes that was read."""
        total, meter, text, reported = sum(file.size for file in files), Meter(), 0, 0
        documents = read_shaped(
            paths(files), shape=self.shape, domain=f"every {self.part.field}", left_out=self.left_out, meter=meter,
            skipped=self.bad if self.how.skip_bad_records else None,
        )  # fmt: skip
        with _Writers(folder, side) as writers:
            for document in documents:
                if self.how.stop():
                    raise Interrupted("stopped while the documents were parted by domain")
                if (number := self._number(document)) is None:
                    continue
                text += writers.add(number, document.text)
                self.documents[side][number] += 1
                if meter.bytes - reported >= _EVERY:
                    reported = meter.bytes
                    self.how.progress(f"documents by {self.part.field}", reported, total)
                if self.how.limit is not None and text >= self.how.limit:
                    return min(1.0, meter.bytes / max(1, total))
        return 1.0

    def _number(self, document: Document) -> int | None:
        """The domain that a document belongs to; None where it is left out, and counted."""
        number = self.numbers.get(document.name or "") if document.name is not None else None
        if number is not None or self.others is not None:
            return self.others if number is None else number
        if self.part.others == "stop":
            says = f"is {document.name!r}" if document.name is not None else "has no value"
            raise DataError(
                one_line(
                    f"data.domain_field: {self.part.field!r} {says} in a document, which names no domain; "
                    "add it to the values of one, or set data.others to leave_out or to a domain"
                )
            )
        reason = f"{self.part.field} {document.name[:40]!r}" if document.name is not None else EMPTY
        known = reason in self.left_out or len(self.left_out) < _NAMES
        self.left_out[reason if known else OTHERS] += 1
        return None


def _name(number: int, side: str) -> str:
    return f"{number:04}.{side}.jsonl.zst"


def _files(folder: Path, number: int, counts: Mapping[str, Any], key: str) -> DomainFiles:
    sides = {}
    for side in ("train", "validation"):
        path = folder / _name(number, side)
        there = counts["documents"][side][number] > 0
        sides[side] = [File(str(path), path.name, path.stat().st_size, key, str(path), explicit=True)] if there else []
    return DomainFiles(sides["train"], sides["validation"])


def _nothing(name: str, field: str, source: DomainSource, counts: Mapping[str, Any]) -> DataError:
    values = some(source.part.values if source.part else ())
    read = sum(counts["documents"]["train"]) + sum(counts["left_out"].values())
    return DataError(
        one_line(
            f"domain {name!r}: in none of {read:,} documents {field!r} is {values}; "
            f"{_others(field, counts)}; correct the domain's values, or leave the domain out"
        )
    )


def _others(field: str, counts: Mapping[str, Any]) -> str:
    left = Counter(counts["left_out"]).most_common(5)
    return "left out are " + ", ".join(f"{reason} ({n:,})" for reason, n in left) if left else "no others are there"
