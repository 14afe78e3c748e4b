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


def without_neutral(section: Section, names: Set[str]) -> dict[str, Any]:
    """JSON values of those settings of a section that are not neutral; no other names than `names`."""
    values = section.model_dump(mode="json", include=set(names), exclude_defaults=True)
    for name in names:
        marks = [mark for mark in type(section).model_fields[name].metadata if isinstance(mark, Neutral)]
        if not marks:
            continue
        value = getattr(section, name)
        if value == marks[0].value:
            values.pop(name, None)
        else:
            values[name] = value
    return values
