"""`corpus/sources.json`: the files that a corpus was made from, and what has changed about them since.

It lies beside the corpus and is no part of its identity: the same text gives the same bytes on any machine. A file is
known by its name below what the pattern names, so that data may be moved. Where only its time differs, its contents
decide.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from doremi.corpus.hub.dataset import dataset_at
from doremi.corpus.manifest import Found
from doremi.corpus.parts import counted_words
from doremi.corpus.patterns import File
from doremi.corpus.size import Size
from doremi.corpus.size import read as read_of
from doremi.corpus.sources import DomainFiles, DomainSource, LeftOut, find_files, left_out_words
from doremi.corpus.unpack import is_remote
from doremi.corpus.value import Corpus
from doremi.diagnostics.health import unknown_share
from doremi.errors import DataError
from doremi.files import FORMAT, file_sha256, read_json, write_json

NAMED = 3  # files that a sentence names at most


@dataclass(frozen=True)
class Change:
    """What differs in one domain; empty `what` means that none of its files can be seen from here."""

    domain: str
    what: str


def record_sources(
    folder: Path,
    found: Mapping[str, DomainFiles],
    *,
    sampled: Collection[str] = (),
    of_no_domain: Mapping[str, Any] | None = None,
) -> None:
    """Write sources.json into the corpus folder; reads every local file once more, but those that are `sampled`.

    `of_no_domain` counts documents, where all domains share their files.
    """
    entry = cache(_entry)  # of files that all domains share
    domains = {
        name: {
            "train": [entry(file, whole=name not in sampled) for file in files.train],
            "validation": [entry(file) for file in files.validation],
            "test": [file.name for file in files.test],
            "left_out": {kind: {"files": one.files, "bytes": one.bytes} for kind, one in files.left_out.items()},
        }
        for name, files in found.items()
    }
    of_none = {"of_no_domain": of_no_domain} if of_no_domain else {}
    write_json(folder / "sources.json", {"format": FORMAT, "domains": domains, **of_none})


def _entry(file: File, *, whole: bool = True) -> dict[str, Any]:
    checksum = file_sha256(Path(file.path)) if whole and not is_remote(file.path) else None
    return {"name": file.name, "path": file.path, "size": file.size, "version": file.version, "sha256": checksum}


def source_changes(folder: Path, domains: Mapping[str, DomainSource]) -> list[Change]:
    """Domains whose files are no longer those that the corpus in `folder` was made from.

    Files with another time are read to see whether they have changed.
    """
    path = folder / "sources.json"
    if not path.exists():
        return []
    recorded = read_json(path, "record of sources")["domains"]
    changes = (_change(name, source, recorded[name]) for name, source in domains.items() if name in recorded)
    return [change for change in changes if change is not None]


def _change(name: str, source: DomainSource, recorded: Mapping[str, Any]) -> Change | None:
    if all((dataset := dataset_at(pattern)) is not None and dataset.is_pinned for pattern in _patterns(source)):
        return None  # a commit stays as it is, and the Hub may be out of reach by now
    try:
        found = find_files(source, key=f"data.domains.{name}")
    except DataError as error:
        there = any(Path(entry["path"]).exists() for entry in recorded["train"])
        return Change(name, str(error) if there and source.ids is None else "")
    in_use = source.ids is not None  # files of tokens are still read, and who checks them says what became of them
    parts = [
        *_differences(recorded["train"], found.train, "training", in_use=in_use),
        *_differences(recorded["validation"], found.validation, "validation", in_use=in_use),
    ]
    return Change(name, ", ".join(parts)) if parts else None


def _patterns(source: DomainSource) -> list[str]:
    return [*source.train, *source.validation]


def _differences(recorded: list[dict[str, Any]], found: list[File], side: str, *, in_use: bool) -> list[str]:
    before, now = {entry["name"]: entry for entry in recorded}, {file.name: file for file in found}
    lists = {
        "new": [name for name in now if name not in before],
        "gone": [name for name in before if name not in now and not in_use],
        "changed": [name for name in now if name in before and not in_use and _is_another(before[name], now[name])],
    }
    return [f"{len(names)} {side} {word} ({_named(names)})" for word, names in _words(lists).items()]


def _words(lists: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """`file new`, `files gone`: only those that there are."""
    return {f"file{'s' * (len(names) > 1)} {word}": names for word, names in lists.items() if names}


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _is_another(before: Mapping[str, Any], now: File) -> bool:
    if before["size"] != now.size:
        return True
    if before["version"] == now.version:
        return False
    return before["sha256"] is None or before["sha256"] != file_sha256(Path(now.path))


def change_warning(changes: list[Change], record: Path) -> str | None:
    """What to tell the user, or None where nothing that can be seen has changed; `record` binds the run to its text."""
    seen = [change for change in changes if change.what]
    if not seen:
        return None
    what = "; ".join(f"{change.domain}: {change.what}" for change in seen)
    return (
        f"The text has changed since it was prepared. {what}. This run goes on with the text as it was. "
        f"To take the new text in, start a new run (--set name=...), or remove {record} and run the same command."
    )


@dataclass(frozen=True)
class DomainRead:
    """What a prepared domain holds. All counts are of held-out text too, where it was split off; a document of which
    parts are held out counts as several."""

    documents: int
    bytes: int
    tokens: int
    size: Size
    """Of the whole domain, which is more than `tokens` where only a part was read."""
    within: int
    """Documents that came before in this domain."""
    across: int
    """Documents that came in a domain before this one."""
    unknown: float
    """Share of its tokens that the tokenizer does not know."""
    longest: int | None
    """Tokens of the longest training text; None where that was not noted."""
    special: int | None
    """Documents with the text of a special token; None where that was not noted."""
    held_documents: int
    held_tokens: int
    held_effective: float | None
    """As many held-out texts of one length would say as much: (sum n)^2 / sum n^2 over their tokens n.

    None where their lengths are gone."""
    notes: list[str]
    """What was left out, and what came more than once."""

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / max(1, self.tokens)


def what_was_read(corpus: Corpus) -> dict[str, DomainRead]:
    """Every domain of a prepared corpus."""
    path = corpus.folder / "sources.json"
    recorded = read_json(path, "record of sources")["domains"] if path.exists() else {}
    read = {}
    for name, entry in corpus.entries.items():
        notes = _found_words(entry.found)
        if (part := corpus.samples.get(name)) is not None:
            notes.insert(0, str(part))
        if (remarks := corpus.remarks.get(name)) is not None:
            notes.extend(remarks.notes)
        files = recorded.get(name, {"test": [], "left_out": {}})
        if files["test"]:
            notes.append(f"not read: {len(files['test'])} test files ({files['test'][0]})")
        if files["left_out"]:
            notes.append(left_out_words({kind: LeftOut(**one) for kind, one in files["left_out"].items()}))
        read[name] = _read(corpus, name, notes)
    return read


def _read(corpus: Corpus, name: str, notes: list[str]) -> DomainRead:
    entry, remarks = corpus.entries[name], corpus.remarks.get(name)
    found, held = entry.found, entry.validation
    return DomainRead(
        documents=read_of(entry, "documents"),
        bytes=read_of(entry, "bytes"),
        tokens=entry.tokens,
        size=corpus.sizes[name],
        within=found.within,
        across=found.across,
        unknown=unknown_share(entry.train.unknown, entry.train.tokens),
        longest=None if remarks is None else remarks.longest,
        special=None if remarks is None else remarks.special,
        held_documents=held.documents,
        held_tokens=held.tokens,
        held_effective=_effective(corpus, name),
        notes=notes,
    )


def _effective(corpus: Corpus, name: str) -> float | None:
    try:
        tokens = corpus.validation_documents(name)["tokens"].astype(float)
    except (OSError, ValueError):  # a copy of a run without them
        return None
    return float(tokens.sum() ** 2 / max(1.0, (tokens**2).sum()))


def what_no_domain_took(corpus: Corpus) -> str | None:
    """Documents of files that all domains share which belong to none; None where there are none."""
    path = corpus.folder / "sources.json"
    found = read_json(path, "record of sources").get("of_no_domain") if path.exists() else None
    if found is None:
        return None
    parts = [f"{sum(found['left_out'].values()):,} documents of no domain"] if found["left_out"] else []
    largest = sorted(found["left_out"].items(), key=lambda item: -item[1])
    more = f" and {len(largest) - NAMED} more" if len(largest) > NAMED else ""
    parts += [f"left out: {counted_words(dict(largest[:NAMED]))}{more}"] if largest else []
    parts += [f"skipped: {counted_words(found['bad'])}"] if found["bad"] else []
    return "; ".join(parts)


def _found_words(found: Found) -> list[str]:
    parts = []
    if found.within + found.across:
        fate = "left out" if found.dropped else "kept"
        parts.append(f"{found.within:,} duplicates within, {found.across:,} of earlier domains ({fate})")
    if found.excluded:
        parts.append(f"{found.excluded:,} not trained on because their text is held out")
    if found.empty:
        parts.append(f"{found.empty:,} empty")
    if found.left_out:
        parts.append("left out: " + counted_words(found.left_out))
    if found.bad:
        parts.append("skipped: " + counted_words(found.bad))
    return parts
