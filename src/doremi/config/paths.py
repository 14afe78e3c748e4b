"""Paths in a configuration: relative to the file that they stand in, or with `--set` to where one stands.

A field that names a file or a folder is marked in the schema: `Annotated[str, InputPath()]`. Its value is made absolute
while it is validated, so that a run directory records places that hold anywhere. Addresses such as s3://... stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema


class Here(str):
    """A value that was not read from the file: a path in it is relative to where one stands."""

    __slots__ = ()


def from_here(value: Any) -> Any:
    """`value` with all its strings marked so."""
    if isinstance(value, str):
        return Here(value)
    if isinstance(value, Mapping):
        return {key: from_here(part) for key, part in value.items()}
    return [from_here(part) for part in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class InputPath:
    """Marks a field that holds a path: always, or where it ends in .json, or where such a tokenizer is there."""

    kind: Literal["path", "mixture", "tokenizer"] = "path"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._validated, handler(source))

    def _validated(self, value: Any, info: ValidationInfo) -> Any:
        base = (info.context or {}).get("folder")
        return self.absolute(value, base) if base is not None and isinstance(value, str) else value

    def absolute(self, value: str, folder: Path) -> str:
        """The path that `value` means in a file in `folder`; what is no path stays as it is."""
        base = Path.cwd() if isinstance(value, Here) else folder.absolute()
        path = base / os.path.expanduser(value)  # noqa: PTH111 - pathlib's fails where there is no such user
        if "://" in value or not self._is_path(value, path):
            return str(value)
        return os.path.normpath(path)

    def _is_path(self, value: str, path: Path) -> bool:
        if self.kind == "mixture":
            return value.endswith(".json")
        if self.kind == "tokenizer":
            return value.startswith((".", "/", "~")) or os.path.exists(path)  # noqa: PTH110 - pathlib's fails for names that are no paths
        return True
