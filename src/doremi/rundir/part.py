"""validation/<key>.json, how many held-out documents judge a size; and a training's losses on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from doremi.corpus.pool import Part
from doremi.corpus.value import Corpus
from doremi.errors import DamageError, RunError, one_line
from doremi.files import FORMAT, read_json, write_json
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.specs import DIGITS, evaluation_file

FOLDER = "validation"


class PartRecord(BaseModel):
    """What was judged once, and from what; `[K]` each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    key: str
    documents: Part
    """That count."""
    pool: Part
    """All that is held out."""
    first: Part
    """That it was judged on."""
    seed_variance: float
    """Of the difference of the two candidates on the uniform average, bits per byte squared, with all seeds."""
    document_variance: float
    """The same, on `first`."""


def write_part(root: Path, record: PartRecord) -> None:
    """Write it, atomically."""
    write_json(root / FOLDER / f"{record.key[:DIGITS]}.json", record.model_dump(mode="json"))


def read_part(path: Path) -> PartRecord:
    """`DamageError` for a file that is not ours."""
    try:
        return PartRecord.model_validate(read_json(path, "number of held-out documents"))
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise DamageError(one_line(f"{path}: is damaged ({message}); remove it and run again")) from None


def nats_on(folder: TrainingFolder, corpus: Corpus, part: Part) -> list[NDArray[np.float64]]:
    """Nats of each document of a part, by domain.

    `RunError` where the model was not evaluated on it, `DamageError` where losses are missing.
    """
    own = folder.evaluated_documents(corpus) == part
    path = folder.folder / ("evaluation.documents.f64" if own else evaluation_file(part))
    if not own and not path.exists():
        raise RunError(f"{folder.folder}: is not evaluated on all documents that count; `doremi run` does it")
    size = path.stat().st_size if path.exists() else 0
    if size != 8 * sum(part) or not sum(part):
        raise DamageError(
            f"{path}: has {size} bytes, {8 * sum(part)} are due for {sum(part)} validation documents; "
            f"remove {folder.folder if own else path} and run again"
        )
    return np.split(np.fromfile(path, dtype="<f8"), np.cumsum(part)[:-1])
