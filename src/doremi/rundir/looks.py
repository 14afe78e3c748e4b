"""looks.json of a run directory: which seeds a verdict has looked at, by size, what was planned at first, what is next.

The number of seeds that a run goes for stands here, as the plan of looks raises it. Every command reads it, and the
configuration stays as it is.
"""

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
    next: int | None = None


def read_looks(root: Path) -> dict[str, Record]:
    """Looks so far by size; none before the first verdict. `DamageError`: the file is not ours."""
    return dict(_read(root).sizes)


def write_looks(root: Path, records: dict[str, Record]) -> None:
    """Write it, atomically, where it is not the same already."""
    _write(root, _read(root).model_copy(update={"sizes": records}))


def read_goal(root: Path) -> int | None:
    """Seeds that the next look is to have; None where no plan is walked. `DamageError`: the file is not ours."""
    return _read(root).next


def write_goal(root: Path, seeds: int) -> None:
    """Write it, atomically, where it is not the same already."""
    _write(root, _read(root).model_copy(update={"next": seeds}))


def _read(root: Path) -> _File:
    path = root / FILE
    if not path.exists():
        return _File()
    try:
        return _File.model_validate(read_json(path, "record of looks"))
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise DamageError(
            one_line(f"{path}: this record is damaged ({message}); without it no claim can be made; restore it")
        ) from None


def _write(root: Path, file: _File) -> None:
    if file != _read(root):
        write_json(root / FILE, file.model_dump(mode="json", exclude_none=True))
