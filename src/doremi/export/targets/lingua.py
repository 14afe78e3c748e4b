"""Meta's lingua: folders of JSON lines with weights. A source is drawn for each line, before tokens are packed."""

from __future__ import annotations

import posixpath
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import mapping, yaml_at

UNIT = "documents, one a line"


def files(blend: Blend, folder: Path) -> Files:
    """`data.yaml`: the folder above all paths, and a weight for each folder below it."""
    paths = [posixpath.normpath(entry.key) for entry in blend.entries]
    _check_alike(paths)
    root = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    sources = {
        posixpath.relpath(path, root or "."): entry.weight for path, entry in zip(paths, blend.entries, strict=True)
    }
    yield "data.yaml", yaml_bytes({"data": {"root_dir": root, "sources": sources}}, summary(blend, UNIT))
    usage = [
        "Merge data.yaml into the configuration. Each folder holds files NAME.chunk.00.jsonl, .01 and so on.",
        "Their number must go into the number of processes, or the other way round.",
        "lingua draws a source for each line, so weights are of documents and not of tokens.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def _check_alike(paths: list[str]) -> None:
    """`ExportError` unless all are absolute or all relative: there is one folder above them."""
    if len({posixpath.isabs(path) for path in paths}) > 1:
        raise ExportError("lingua has one root folder: give all paths absolute, or all relative")
    if bad := next((path for path in paths if "://" in path), None):
        raise ExportError(f"{bad}: lingua reads local folders only")


def read(text: str) -> Weights:
    """Paths with their weights."""
    root = yaml_at(text, "data", "root_dir")
    sources = mapping(yaml_at(text, "data", "sources"))
    return [(posixpath.normpath(posixpath.join(str(root), path)), weight) for path, weight in sources]


TARGET = Target(
    name="lingua",
    family="Hugging Face",
    description="Meta's lingua sources",
    unit=UNIT,
    files=files,
    main="data.yaml",
    read=read,
    counts="documents",
)
