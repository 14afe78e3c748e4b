"""What a user says of files of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TokenIds:
    """`type` is an integer type such as uint16, or `auto`; `end` the id that ends documents, the tokenizer's if None.

    `field` is the column of tables."""

    type: str = "auto"
    end: int | None = None
    field: str = "input_ids"

    @property
    def said(self) -> list[Any]:
        """What keys have of it."""
        return [self.type, self.end, self.field]
