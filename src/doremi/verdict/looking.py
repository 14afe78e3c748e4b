"""looks.json of a run directory: which seeds a verdict has looked at, by size, and what was planned at first."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from doremi.errors import DamageError, one_line
from doremi.files import FORMAT, read_json, write_json
from doremi.statistics.looks import Record

FILE = "looks.json"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    sizes: dict[str, Record] = {}


def read_looks(root: Path) -> dict[str, Record]:
    """Looks so far by size; none before the first verdict. `DamageError`: the file is not ours."""
    path = root / FILE
    if not path.exists():
        return {}
    try:
        return dict(_File.model_validate(read_json(path, "record of looks")).sizes)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise DamageError(
            one_line(f"{path}: this record is damaged ({message}); without it no claim can be made; restore it")
        ) from None


def write_looks(root: Path, records: dict[str, Record]) -> None:
    """Write it, atomically, where it is not the same already."""
    if records != read_looks(root):
        write_json(root / FILE, _File(sizes=records).model_dump(mode="json"))
