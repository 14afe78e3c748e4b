"""Values of a setting that keys leave out, so that a new setting, or a new default, leaves old keys as they are.

A setting's neutral value is its default, and stays what it was when the default changes: `Annotated[float,
Neutral(0.1)]` is said at the field then, once and for all. What was trained before keeps its key, and the new default
is part of the key like any other value.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from doremi.config.section import Section


@dataclass(frozen=True)
class Neutral:
    """The neutral value of a setting whose default is another one."""

    value: Any


def neutral_values(section: type[Section]) -> dict[str, Any]:
    """By name, those that are no longer the default."""
    marked = {name: _marks(section, name) for name in section.model_fields}
    return {name: marks[0].value for name, marks in marked.items() if marks}


def without_neutral(section: Section, names: Set[str]) -> dict[str, Any]:
    """JSON values of those settings of a section that are not neutral; no other names than `names`."""
    values = section.model_dump(mode="json", include=set(names), exclude_defaults=True)
    for name, neutral in neutral_values(type(section)).items():
        if name not in names:
            continue
        value = getattr(section, name)
        if value == neutral:
            values.pop(name, None)
        else:
            values[name] = value
    return values


def _marks(section: type[Section], name: str) -> list[Neutral]:
    return [mark for mark in section.model_fields[name].metadata if isinstance(mark, Neutral)]
