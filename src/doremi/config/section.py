"""What every part of the configuration is."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from doremi.config.numbers import whole_number
from doremi.config.reach import Reached, Reaches


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys, help taken from the text under each field.

    Wherever a key takes a whole number, numbers.py says how it may be written; names that end in `_bytes` are sizes.
    """

    reaches: ClassVar[Reaches] = Reaches()
    """What its fields reach, but those that say otherwise."""
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        annotation = cls.model_fields[name].annotation
        if annotation is int or int in get_args(annotation):
            return whole_number(value, of_bytes=name.endswith("_bytes"))
        return value


def reach_of(section: type[Section], field: str) -> frozenset[Reached]:
    """What a field of a section reaches."""
    own = [mark for mark in section.model_fields[field].metadata if isinstance(mark, Reaches)]
    return (own[0] if own else section.reaches).kinds
