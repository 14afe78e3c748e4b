"""What a field says that names domains: how many documents, and how much text, of each value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from doremi.corpus.glance import Glance, all_files, evenly
from doremi.corpus.place import Meter
from doremi.corpus.readers import read_shaped
from doremi.corpus.sources import DomainFiles, DomainSource, Part, find_files
from doremi.errors import DataError, one_line
from doremi.mixture.domains import DomainSet

RARE = 0.001  # of all text: a value with less gets no domain of its own
MOST_DOMAINS = 100
READ = 128 << 20  # bytes of text that are read at most
_ODD = re.compile(r"[^\w .()+,'#&@!%~=$;:?*^{}\[\]-]|^[^\w({\[#&+@!%~=$]")


@dataclass
class Count:
    documents: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Values:
    """What was found, the largest first; `rare` counts what gets no domain, documents without a value among them."""

    files: DomainFiles
    large: Mapping[str, Count]
    rare: Count
    rare_values: int
    unnamed: int
    exact: bool

    @property
    def domains(self) -> dict[str, str]:
        """The value of each domain, by its name: the value itself, or what of it a name may hold."""
        names: dict[str, str] = {}
        for value in self.large:
            name = _ODD.sub("-", value).strip(" .")[:60] or "domain"
            while any(name.casefold() == other.casefold() for other in names):
                name += " 2"
            names[name] = value
        DomainSet(names)
        return names


def values_of(source: DomainSource, key: str) -> Values:
    """Read what lies where a source with a `part` points, or as far as is read of much of it.

    `DataError` for files that cannot be read, and where fewer than two values are frequent."""
    assert isinstance(source.part, Part)
    files = find_files(source, key=key)
    every = all_files(files)
    counts, unnamed, factor = _counted(source, files)
    total = sum(count.bytes for count in counts.values()) + unnamed.bytes
    ordered = sorted(counts, key=lambda value: -counts[value].bytes)
    large = [value for value in ordered if counts[value].bytes >= RARE * total][:MOST_DOMAINS]
    if len(large) < 2:
        raise DataError(
            one_line(
                f"{source.part.field!r} has {len(large)} frequent values in {every[0].path}; two are needed, since "
                "doremi weighs domains against one another: give another --domain-field"
            )
        )
    rare = [counts[value] for value in ordered if value not in large] + [unnamed]
    for count in (*counts.values(), unnamed):
        count.documents, count.bytes = round(count.documents * factor), round(count.bytes * factor)
    lost = Count(sum(count.documents for count in rare), sum(count.bytes for count in rare))
    chosen = {value: counts[value] for value in large}
    return Values(files, chosen, lost, len(rare) - 1, unnamed.documents, factor == 1)


def glances(sources: Mapping[str, DomainSource], files: DomainFiles) -> dict[str, Glance]:
    """What files that all domains share hold of each, about: a reading as far as it goes, scaled."""
    counts, unnamed, factor = _counted(next(iter(sources.values())), files)
    owners = {value: name for name, source in sources.items() for value in (source.part.values if source.part else ())}
    found = {name: Count() for name in sources}
    for value, count in [*counts.items(), ("", unnamed)]:
        part = next(iter(sources.values())).part
        name = owners.get(value, part.others if part else "")
        if name in found:
            found[name].documents += round(count.documents * factor)
            found[name].bytes += round(count.bytes * factor)
    opened = len(evenly(all_files(files)))
    return {name: Glance(files, one.documents, one.bytes, opened, factor == 1) for name, one in found.items()}


def _counted(source: DomainSource, files: DomainFiles) -> tuple[dict[str, Count], Count, float]:
    """Counts by value, those of documents without one, and how much more there is than was read."""
    every = all_files(files)
    chosen, counts, unnamed, read, whole = evenly(every), dict[str, Count](), Count(), 0, True
    for file in chosen:
        meter, text = Meter(), 0
        documents = read_shaped([file.path], shape=source.shape, domain=key_of_all(source), meter=meter)
        with closing(documents):  # pyright: ignore[reportArgumentType]
            for document in documents:
                count = unnamed if document.name is None else counts.setdefault(document.name, Count())
                size = len(document.text.encode())
                count.documents, count.bytes, text = count.documents + 1, count.bytes + size, text + size
                if text * len(chosen) > READ:
                    whole = False
                    break
            read += meter.bytes
    all_of_it = sum(file.size for file in every)
    exact = whole and len(chosen) == len(every)
    return counts, unnamed, 1.0 if exact else max(1.0, all_of_it / max(1, read))


def key_of_all(source: DomainSource) -> str:
    """What stands for a domain in messages about files that all domains share."""
    return f"every {source.part.field}" if source.part else "all"
