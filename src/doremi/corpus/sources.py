"""Which files of a domain are training, validation or test, and which are not read: decided here, for every command.

    find_all        the files of all domains, each content once; one search where a field names the domains
    describe        what was found, in a line a domain

A folder, a glob or an address stands for many files, so names decide (splits.py): validation files are held out, test
files are passed over. What a user names as a single file is what the user says it is. Whatever is not read is counted
by kind, with its bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from doremi.corpus.formats import KNOWN, kind_of, unpacked_name
from doremi.corpus.patterns import File, expand
from doremi.corpus.peek import head_of, why_not, without_stale
from doremi.corpus.shape import Filter, Shape
from doremi.corpus.splits import Split
from doremi.corpus.tokenized.asked import TokenIds
from doremi.corpus.tokenized.find import token_files
from doremi.errors import DataError, one_line
from doremi.files import size_in_words

HIDDEN, LINK, COPY, OTHERS = (
    "hidden",
    "the same file under another name",
    "packed copy of a file beside it",
    "validation files, since others are given",
)
NAMED = 5  # kinds of files that a line names at most


@dataclass(frozen=True)
class DomainSource:
    """Where a domain's text is: files, folders, globs or addresses. Without validation files, some text is held out."""

    train: Sequence[str]
    validation: Sequence[str] = ()
    text_field: str = "text"
    sample_tokens: int | None = None
    """About how many tokens of its training files are read; None for all."""
    join: str | None = None
    where: tuple[Filter, ...] = ()
    part: Part | None = None
    ids: TokenIds | None = None
    """Of files that hold tokens: how they do."""

    @property
    def shape(self) -> Shape:
        return Shape(self.text_field, self.join, self.where, self.part.field if self.part else None)

    @property
    def said(self) -> list[dict[str, Any]]:
        """What keys have of its shape, beside the text field: nothing where nothing is said."""
        asked = {
            "join": self.join,
            "where": [[one.field, list(one.values)] for one in self.where],
            "part": [self.part.field, list(self.part.values), self.part.others] if self.part else [],
            "ids": self.ids.said if self.ids else [],
        }
        said = {name: value for name, value in asked.items() if value not in (None, [])}
        return [said] if said else []


@dataclass(frozen=True)
class Part:
    """The documents of files that belong to all domains: those whose `field` has one of the values."""

    field: str
    values: tuple[str, ...]
    others: str = "leave_out"
    """What becomes of documents that no domain asks for: `leave_out`, `stop`, or the domain that takes them."""


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not read."""

    files: int
    bytes: int


@dataclass(frozen=True)
class DomainFiles:
    """All that lies where a domain's source points. `test` files are known as such and passed over."""

    train: list[File]
    validation: list[File]
    test: list[File] = field(default_factory=list)
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    by: str = ""
    """The field that names each document's domain, in files that all domains share."""


def paths(files: Iterable[File]) -> list[str]:
    return [file.path for file in files]


# -- finding ---------------------------------------------------------------------------------------------------------


def find_all(
    domains: Mapping[str, DomainSource], *, key: str = "data.domains", look_inside: bool = True
) -> dict[str, DomainFiles]:
    """The files of every domain. `DataError` that begins with `key` where there is nothing to read, where a file is on
    both sides, or belongs to two domains.

    Without `look_inside` nothing is opened: the files that their first bytes would leave out are there too."""
    parted = [source for source in domains.values() if source.part is not None]
    if parted:
        files = find_files(parted[0], key=key.rpartition(".")[0] or key, look_inside=look_inside)
        return dict.fromkeys(domains, files)
    found = {name: find_files(source, key=f"{key}.{name}", look_inside=look_inside) for name, source in domains.items()}
    owners: dict[tuple[str, str], tuple[str, File]] = {}
    for name, files in found.items():
        for file in (*files.train, *files.validation):
            other, first = owners.setdefault((file.identity, domains[name].text_field), (name, file))
            if other != name and not _are_apart(domains[name], domains[other]):
                also = "" if first.path == file.path else f" (there as {first.path})"
                raise DataError(
                    one_line(
                        f"{key}.{name}: {file.path} belongs to domain {other!r} too{also}, so its text would count "
                        "twice; give each file to one domain"
                    )
                )
    return found


def _are_apart(one: DomainSource, other: DomainSource) -> bool:
    """Whether no record can be asked for by both."""
    values = {a.field: a.values for a in one.where}
    return any(b.field in values and not set(values[b.field]) & set(b.values) for b in other.where)


def find_files(source: DomainSource, *, key: str, look_inside: bool = True) -> DomainFiles:
    """The files of one domain; see `find_all`."""
    left_out: Counter[str] = Counter()
    sizes: Counter[str] = Counter()

    def leave(kind: str, file: File) -> None:
        left_out[kind] += 1
        sizes[kind] += file.size

    def matches(patterns: Sequence[str], key: str) -> list[File]:
        if source.ids is not None:
            return _each_file_once(token_files(patterns, key, leave), leave)
        found = _each_file_once(_matches(patterns, key, source.text_field if look_inside else None, leave), leave)
        return without_stale(_without_copies(found, leave), leave) if look_inside else found

    train, validation = matches(source.train, f"{key}.train"), matches(source.validation, f"{key}.validation")
    given = {file.identity for file in validation}
    _refuse_both(train, given, key)
    train = [file for file in train if file.identity not in given]
    by_split: dict[Split | None, list[File]] = {split: [] for split in ("train", "validation", "test", None)}
    for file in train:
        by_split[file.split].append(file)
    if source.validation:
        held = validation
        for file in by_split["validation"]:
            leave(OTHERS, file)
    else:
        held = by_split["validation"]
    training = [file for file in train if file.split in ("train", None)]
    if not training:
        kinds = [f"{split} files" for split in ("validation", "test") if by_split[split]]
        only = " and ".join(kinds) or "files that are given as validation"
        raise DataError(one_line(f"{key}: {_shown(source.train)}: has {only} only; add training files or rename them"))
    totals = {kind: LeftOut(count, sizes[kind]) for kind, count in sorted(left_out.items())}
    by = source.part.field if source.part else ""
    return DomainFiles(training, held, by_split["test"], totals, by)


def _refuse_both(train: list[File], given: set[str], key: str) -> None:
    both = next((file for file in train if file.explicit and file.identity in given), None)
    if both is not None:
        raise DataError(one_line(f"{key}: {both.path} is both a training and a validation file; remove it from one"))


def _matches(patterns: Sequence[str], key: str, text_field: str | None, leave: Any) -> list[File]:
    """Files that can be read, in the order of the patterns, those of one pattern by name; of validation patterns the
    files that other splits own are none of theirs. Without `text_field` no file is opened."""
    found: list[File] = []
    for pattern in patterns:
        all_of_it = expand(str(pattern), key)
        readable = _readable(all_of_it, text_field, leave)
        if not readable:
            raise DataError(one_line(f"{key}: {pattern}: {_nothing_to_read(all_of_it, text_field)}"))
        if key.endswith(".validation"):
            own = [file for file in readable if file.split == "validation"]
            readable = own or [file for file in readable if file.split is None]
        found += readable
    return found


def _nothing_to_read(files: list[File], text_field: str | None) -> str:
    odd = [file for file in files if file.format is not None]
    if odd and text_field is not None:
        reasons = Counter(_why_not_read(file, text_field) for file in odd)
        shown = ", ".join(f"{reason} ({number:,})" for reason, number in reasons.most_common(NAMED))
        return f"has no file with documents, but {shown}; set text_field to the right one"
    return f"has no file that doremi reads; it reads {KNOWN}; check the path"


def _readable(files: list[File], text_field: str | None, leave: Any) -> list[File]:
    kept = []
    for file in files:
        if (reason := _why_not_read(file, text_field)) is None:
            kept.append(file)
        else:
            leave(reason, file)
    return kept


def _why_not_read(file: File, text_field: str | None) -> str | None:
    if any(part.startswith(".") for part in file.name.split("/")) and not file.explicit:
        return HIDDEN
    if file.format is None:
        return kind_of(file.path)
    return None if text_field is None else why_not(file, text_field)


def _each_file_once(files: list[File], leave: Any) -> list[File]:
    """Without further names of one file."""
    kept: dict[str, File] = {}
    for file in files:
        first = kept.setdefault(file.identity, file)
        if first.path != file.path:
            leave(LINK, file)
    return list(kept.values())


def _without_copies(files: list[File], leave: Any) -> list[File]:
    """Without packed copies of files that lie beside them."""
    copies: set[str] = set()
    by_name: dict[str, File] = {}
    for file in sorted(files, key=lambda file: len(file.path)):  # an unpacked file before its packed copies
        other = by_name.setdefault(unpacked_name(file.path), file)
        if other is not file and head_of(other) == head_of(file):
            leave(COPY, file)
            copies.add(file.identity)
    return [file for file in files if file.identity not in copies]


# -- words -----------------------------------------------------------------------------------------------------------


def describe(files: DomainFiles) -> str:
    """What was found of one domain, in a line."""
    parts = [_number(files.train, "training file") + (f", parted by {files.by!r}" if files.by else "")]
    parts.append(_number(files.validation, "validation file") if files.validation else "validation split off")
    if files.test:
        parts.append(f"not read: {_number(files.test, 'test file')} ({files.test[0].name})")
    return ", ".join(parts) + (f"; {left_out_words(files.left_out)}" if files.left_out else "")


def left_out_words(left_out: Mapping[str, LeftOut]) -> str:
    """`left out: 12 files, 3.1 GB (.bz2 8, .csv 3, no suffix 1)`."""
    files, size = (sum(getattr(kind, what) for kind in left_out.values()) for what in ("files", "bytes"))
    kinds = sorted(left_out.items(), key=lambda item: -item[1].files)
    shown = ", ".join(f"{kind} {one.files}" for kind, one in kinds[:NAMED])
    more = f" and {len(kinds) - NAMED} more kinds" if len(kinds) > NAMED else ""
    return f"left out: {files:,} file{'s' * (files != 1)}, {size_in_words(size)} ({shown}{more})"


def _number(files: Sequence[File], noun: str) -> str:
    return f"{len(files):,} {noun}{'s' * (len(files) != 1)}"


def _shown(patterns: Sequence[str]) -> str:
    return ", ".join(str(pattern) for pattern in patterns)
