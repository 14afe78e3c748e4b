"""Which part of a record is its document, and which records are asked for.

text_field   a field, or one inside others: `meta.text`, `messages.content` (in a list, that of every part)
join         what stands between the parts of a text that is a list
where        fields and the values that they must have: other records are left out, and counted
by           a field that names each document's domain
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from doremi.corpus.place import Place, kind, some

Scalar = str | int | float | bool | None


class Document(NamedTuple):
    """A text and, where a field names its domain, what that says; None for a record without."""

    text: str
    name: str | None = None


class _Missing:
    """What a record has at a place that it has not."""


MISSING = _Missing()


@dataclass(frozen=True)
class Filter:
    """Records whose field has one of the values, or a list with one."""

    field: str
    values: tuple[Scalar, ...]

    def passes(self, record: Mapping[str, Any], place: Place) -> bool:
        found = lookup(record, self.field)
        return any(self._is_asked(one, place) for one in (found if isinstance(found, list) else [found]))

    def _is_asked(self, found: object, place: Place) -> bool:
        return any(self._equal(found, value, place) for value in self.values)

    def _equal(self, found: object, value: Scalar, place: Place) -> bool:
        """Text in a table without types may say a number; `no` in YAML is not the word."""
        if isinstance(found, str) and isinstance(value, bool):
            if found.lower() not in ("true", "false"):
                raise place.error(
                    f"field {self.field!r} is text, but `where` asks for {value}; put words such as no, yes, on and "
                    "off in quotes"
                )
            return found.lower() == str(value).lower()
        if isinstance(found, str) and isinstance(value, (int, float)):
            return found == str(value)
        return isinstance(found, bool) == isinstance(value, bool) and found == value


@dataclass(frozen=True)
class Shape:
    """How the records of a domain's files look."""

    text_field: str = "text"
    join: str | None = None
    where: tuple[Filter, ...] = ()
    by: str | None = None

    @property
    def fields(self) -> list[str]:
        """All that are asked for, that of the text first."""
        return [self.text_field, *(one.field for one in self.where), *([self.by] if self.by else [])]

    @property
    def needs_records(self) -> bool:
        """Whether a text alone, without fields, will not do."""
        return bool(self.where) or self.by is not None

    def document(self, record: object, place: Place, noun: str = "field") -> Document | None:
        """The document of a record; None for one that is left out or is none, which `place` counts, or refuses."""
        if not isinstance(record, dict):
            place.refuse(
                "not an object",
                f'is JSON but not an object; write each document as {{"{self.text_field}": "..."}} on its own line',
            )
            return None
        for one in self.where:
            if not one.passes(record, place):
                place.left_out[f"where {one.field}"] += 1
                return None
        found = lookup(record, self.text_field)
        if isinstance(found, _Missing):
            place.refuse(
                f"no {noun} {self.text_field!r}",
                f"has no {noun} {self.text_field!r}; it has {some(record)}; set text_field to the right one",
            )
            return None
        text = self._text(found, f"{noun} {self.text_field!r}", place)
        return None if text is None else Document(text, None if self.by is None else _name(lookup(record, self.by)))

    def _text(self, found: object, what: str, place: Place) -> str | None:
        if isinstance(found, str):
            return place.checked(found, what)
        if isinstance(found, list) and self.join is None:
            place.refuse("a list", f"{what} is a list, not text; set join to what stands between its parts")
        elif isinstance(found, list):
            return self._joined(found, self.join or "", what, place)
        else:
            place.refuse(kind(found), f"{what} is {kind(found)}, not text; give a string or another text_field")
        return None

    def _joined(self, found: list[Any], join: str, what: str, place: Place) -> str | None:
        """Parts that are null have no text; one that is no text makes the record none."""
        parts = [part for part in _flat(found) if part is not None]
        for part in parts:
            if isinstance(part, str):
                continue
            if isinstance(part, _Missing):
                place.refuse(f"a part without {self.text_field!r}", f"{what} is missing in one part of the list")
            else:
                hint = (
                    f"; it has {some(part)}; name one, as in {self.text_field}.NAME" if isinstance(part, dict) else ""
                )
                place.refuse(f"a list with {kind(part)}", f"{what} is a list with {kind(part)}, not text{hint}")
            return None
        return place.checked(join.join(parts), what)


def lookup(record: object, path: str) -> Any:
    """The value at a dotted path, or `MISSING`. A field with all the dots in its name goes first; of a list the values
    of all its parts are given."""
    if isinstance(record, list):
        found = [lookup(part, path) for part in record]
        return MISSING if found and all(isinstance(one, _Missing) for one in found) else found
    if not isinstance(record, dict):
        return MISSING
    if path in record:
        return record[path]
    for head, rest in heads(path):
        if head in record and not isinstance(found := lookup(record[head], rest), _Missing):
            return found
    return MISSING


def heads(path: str) -> Iterator[tuple[str, str]]:
    """Ways to cut a dotted path in two, the longest head first."""
    for end in range(len(path) - 1, -1, -1):
        if path[end] == ".":
            yield path[:end], path[end + 1 :]


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _name(value: object) -> str | None:
    """What a field says of a document's domain."""
    if isinstance(value, str):
        return value if value.strip() else None
    return str(value) if isinstance(value, (int, float)) else None
