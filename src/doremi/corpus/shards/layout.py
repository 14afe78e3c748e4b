"""`.shards` in a corpus folder: which shards a preparation has, and what each has handed in (docs/formats.md).

    shards.json                  the list, written when all that comes before the shards is done
    held_out                     SHA-256 of the pieces that may be trained on nowhere, 32 bytes each
    tokenizer.json               the tokenizer, as exactly as it was made or loaded
    <domain>/files.json          the domain's files, and what else of it the later steps need
    <domain>/validation.*        its held-out text, as in the corpus folder
    <domain>/<n>.bin, <n>.rows   tokens of a shard, and what they are; <n>.json comes last

The shards depend on the files alone, so they are the same for any number of processes and machines.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from doremi.corpus.patterns import File
from doremi.corpus.tokenizer import TextTokenizer
from doremi.errors import DoremiError
from doremi.files import FORMAT, key_of, read_json, write_bytes, write_json
from doremi.mixture.domains import folder_name

FOLDER = ".shards"
_DIGEST = 32


@dataclass(frozen=True)
class Shard:
    """Files `first` up to `last` of a domain's training files, or a `part` of one.

    A part is bytes of lines, row groups of a Parquet file, or documents of a file of tokens: from, up to.
    """

    domain: str
    number: int
    first: int
    last: int
    bytes: int
    """Of source files, as they lie on the disk."""
    part: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """`web/0`: the domain's folder, and which one it is."""
        return f"{folder_name(self.domain)}/{self.number}"


@dataclass(frozen=True)
class Record:
    """What a finished shard has counted. `rows` and `size` are the bytes of its rows and of its tokens."""

    rows: int
    size: int
    empty: int
    special: int
    bad: Mapping[str, int]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Layout:
    """All shards of a preparation. `key` stands for everything that a shard depends on."""

    folder: Path
    """Of the corpus."""
    key: str
    corpus: str
    """The corpus's key."""
    shards: tuple[Shard, ...]
    paths: str
    """Stands for the places of all source files."""
    shared_out: bool
    """Whether the shards are jobs of the run; a small corpus is prepared in one."""
    of_no_domain: Mapping[str, Any]
    """Documents of files that all domains share, which belong to none."""

    def of(self, domain: str) -> list[Shard]:
        return [shard for shard in self.shards if shard.domain == domain]

    def find(self, name: str) -> Shard | None:
        return next((shard for shard in self.shards if shard.name == name), None)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    # -- what lies where -----------------------------------------------------------------------------------------

    def place(self, domain: str) -> Path:
        """The folder of a domain among the shards."""
        return self.folder / FOLDER / folder_name(domain)

    def files_of(self, shard: Shard) -> tuple[Path, Path, Path]:
        """Tokens, rows, record."""
        base = self.place(shard.domain)
        return tuple(base / f"{shard.number}.{end}" for end in ("bin", "rows", "json"))  # pyright: ignore[reportReturnType]

    def shard_key(self, shard: Shard) -> str:
        return key_of([self.key, asdict(shard)])

    def held(self) -> set[bytes]:
        """Digests of the pieces that may be trained on nowhere."""
        data = (self.folder / FOLDER / "held_out").read_bytes()
        return {data[i : i + _DIGEST] for i in range(0, len(data), _DIGEST)}

    def tokenizer(self) -> TextTokenizer:
        return TextTokenizer.restored(read_json(self.folder / FOLDER / "tokenizer.json", "tokenizer"))

    def decoding(self) -> tuple[int, float]:
        """Bytes of tokens that are to be decoded, and the seconds that one process takes for them, about."""
        records = {shard.domain: read_domain(self.place(shard.domain)) for shard in self.shards}
        left = {name: sum(shard.bytes for shard in self.of(name) if not self.is_done(shard)) for name in records}
        whole = {name: max(1, sum(shard.bytes for shard in self.of(name))) for name in records}
        taken = {name: one.seconds * left[name] / whole[name] for name, one in records.items() if one.seconds}
        return sum(left[name] for name in taken), sum(taken.values())

    # -- finished shards -----------------------------------------------------------------------------------------

    def record(self, shard: Shard) -> Record | None:
        """What a finished shard has counted; None where it is not done, or was damaged."""
        tokens, rows, path = self.files_of(shard)
        try:
            value = read_json(path, "record of a shard")
            if value["key"] != self.shard_key(shard):
                return None
            found = Record(**{name: value[name] for name in Record.__dataclass_fields__})
            there = (rows.stat().st_size, tokens.stat().st_size if found.size else 0)
        except (DoremiError, OSError):
            return None
        return found if there == (found.rows, found.size) else None

    def handed_in(self, domain: str) -> int:
        """Bytes of rows and tokens of a domain's shards."""
        records = [self.record(shard) for shard in self.of(domain)]
        return sum(one.rows + one.size for one in records if one is not None)

    def write_record(self, shard: Shard, found: Record) -> None:
        value = {"format": FORMAT, "key": self.shard_key(shard), **asdict(found)}
        write_json(self.files_of(shard)[2], value)

    def forget(self, domain: str) -> None:
        """Remove the shards of a domain that is whole: their tokens are in its own files."""
        for shard in self.of(domain):
            for path in reversed(self.files_of(shard)):  # without its record a shard is none
                path.unlink(missing_ok=True)

    def is_done(self, shard: Shard) -> bool:
        """Whether it is finished, or its domain is already whole."""
        if self.record(shard) is not None:
            return True
        try:
            value = read_json(self.folder / folder_name(shard.domain) / "domain.json", "finished domain")
        except DoremiError:
            return False
        return value.get("layout") == self.key


@dataclass(frozen=True)
class DomainRecord:
    """What the steps after the first one need of a domain."""

    files: tuple[File, ...]
    """That are trained on."""
    ours: bool
    """Whether they were written by us, in a form of ours, and not by the user."""
    validation: Mapping[str, Any]
    """Counts and checksums of its held-out text, as the manifest has them."""
    given: bool
    """Whether that came from files of its own."""
    bad: Mapping[str, int]
    left_out: Mapping[str, int]
    """Records that were passed over when a sample was drawn."""
    sample: Mapping[str, Any] | None
    """What was read of it; None for all."""
    tables: bool = False
    """Of a domain of tokens: whether only documents in tables (`Layout.table`) are read."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """Of a large domain of tokens: that one process takes to decode it, about."""


def write_domain(place: Path, found: DomainRecord) -> None:
    files = [[file.path, file.name, file.size, file.version] for file in found.files]
    rest = {name: getattr(found, name) for name in DomainRecord.__dataclass_fields__ if name != "files"}
    write_json(place / "files.json", {"format": FORMAT, "files": files, **rest})


def read_domain(place: Path) -> DomainRecord:
    value = read_json(place / "files.json", "record of a domain's files")
    files = tuple(File(path, name, size, version, path, explicit=True) for path, name, size, version in value["files"])
    rest = {name: value[name] for name in DomainRecord.__dataclass_fields__ if name != "files"}
    return DomainRecord(**{**rest, "files": files, "notes": tuple(rest["notes"])})


def table_of(place: Path, number: int) -> Path:
    """Where the documents of a file of tokens lie that a sample has of it: int64, all offsets and then all lengths."""
    return place / f"sample.{number}.i64"


# -- the list --------------------------------------------------------------------------------------------------------


def begin_anew(folder: Path) -> None:
    """Remove what another preparation has left."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / FOLDER).mkdir(parents=True)


def write_layout(found: Layout, held: set[bytes], tokenizer: TextTokenizer) -> None:
    """From now on the shards can be done, by anybody."""
    base = found.folder / FOLDER
    write_bytes(base / "held_out", b"".join(sorted(held)))
    write_json(base / "tokenizer.json", {"format": FORMAT, **tokenizer.described()})
    shards = [[s.domain, s.number, s.first, s.last, s.bytes, s.part] for s in found.shards]
    names = {name: getattr(found, name) for name in ("key", "corpus", "paths", "shared_out", "of_no_domain")}
    write_json(base / "shards.json", {"format": FORMAT, **names, "shards": shards})


def read_layout(folder: Path, corpus: str) -> Layout | None:
    """The shards of the preparation of this corpus; None where it has not come so far, or is done."""
    try:
        value = read_json(folder / FOLDER / "shards.json", "list of shards")
        if value["corpus"] != corpus:
            return None
        shards = [Shard(d, n, a, b, size, tuple(part) if part else None) for d, n, a, b, size, part in value["shards"]]
        how = (value["paths"], value["shared_out"], value["of_no_domain"])
        return Layout(folder, value["key"], corpus, tuple(shards), *how)
    except DoremiError:
        return None
