"""What a file's name says about how to read it: the container of its documents, and how it is packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Container = Literal["lines", "json", "parquet", "text"]

# A `.json` holds either one array of records or, as C4 and Dolma have it in .json.gz, one record a line.
_CONTAINERS: dict[str, Container] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".jsonlines": "lines",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
}
PACKINGS = (".gz", ".zst", ".bz2", ".xz")
KNOWN = f"{' '.join(_CONTAINERS)}, all but .parquet also with {' '.join(PACKINGS)}"


@dataclass(frozen=True)
class Format:
    """How to read a file; `packing` is empty for a file that is not packed."""

    container: Container
    packing: str = ""


def format_of(file: str) -> Format | None:
    """The format of a path or address by its name; None for files that doremi does not read."""
    name = file.rsplit("/", 1)[-1].lower()
    packing = next((end for end in PACKINGS if name.endswith(end)), "")
    stem = name.removesuffix(packing)
    container: Container | None = next((kind for end, kind in _CONTAINERS.items() if stem.endswith(end)), None)
    if container is None or (container == "parquet" and packing):
        return None
    return Format(container, packing)


def is_packed(file: str) -> bool:
    """Whether a file's text takes more bytes than the file."""
    form = format_of(file)
    return form is not None and (form.container == "parquet" or bool(form.packing))


def unpacked_name(file: str) -> str:
    """The name that a file has when it is unpacked."""
    packing = next((end for end in PACKINGS if file.lower().endswith(end)), "")
    return file[: len(file) - len(packing)]


def kind_of(file: str) -> str:
    """What a file that is not read is counted under: the end of its name, or that it has none."""
    name = file.rsplit("/", 1)[-1]
    _, dot, end = name[1:].rpartition(".")
    return f".{end.lower()}" if dot and 0 < len(end) <= 12 else "no suffix"
