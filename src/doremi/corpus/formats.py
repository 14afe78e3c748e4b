"""What a file's name says about how to read it: the container of its documents, and how it is packed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Container = Literal["lines", "json", "parquet", "text", "csv", "tsv", "arrow", "tar"]

# A `.json` holds either one array of records or, as C4 and Dolma have it in .json.gz, one record a line.
_CONTAINERS: dict[str, Container] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".jsonlines": "lines",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".tar": "tar",
}
_NEVER_PACKED: tuple[Container, ...] = ("parquet", "arrow")  # they are read out of order, and pack what they hold
DELIMITERS: dict[Container, str] = {"csv": ",", "tsv": "\t"}
_SHORT = {".tgz": ".tar.gz"}
PACKINGS = (".gz", ".zst", ".bz2", ".xz")
KNOWN = f"{' '.join(_CONTAINERS)}, all but .parquet, .arrow and .feather also with {' '.join(PACKINGS)}"
_WEB = re.compile(r"https?://", re.IGNORECASE)


@dataclass(frozen=True)
class Format:
    """How to read a file; `packing` is empty for a file that is not packed."""

    container: Container
    packing: str = ""


def format_of(file: str) -> Format | None:
    """The format of a path or address by its name; None for files that doremi does not read."""
    name = _name(file)
    packing = packing_of(name)
    stem = name.removesuffix(packing)
    container: Container | None = next((kind for end, kind in _CONTAINERS.items() if stem.endswith(end)), None)
    if container is None or (container in _NEVER_PACKED and packing):
        return None
    return Format(container, packing)


def text_format(file: str) -> Format:
    """The format of a file that the user says is a text."""
    return Format("text", packing_of(_name(file)))


def is_web(address: str) -> bool:
    """Whether a path is an address of a web server."""
    return _WEB.match(address) is not None


def _name(file: str) -> str:
    """A file's own name, in small letters; of an address without what follows a question mark."""
    path = re.split("[?#]", file, maxsplit=1)[0] if is_web(file) else file
    name = path.rsplit("/", 1)[-1].lower()
    return next((name.removesuffix(end) + long for end, long in _SHORT.items() if name.endswith(end)), name)


def packing_of(file: str) -> str:
    return next((end for end in PACKINGS if file.lower().endswith(end)), "")


def is_packed(file: str) -> bool:
    """Whether a file's text takes more bytes than the file."""
    form = format_of(file)
    return form is not None and (form.container == "parquet" or bool(form.packing))


def unpacked_name(file: str) -> str:
    """The name that a file has when it is unpacked."""
    return file[: len(file) - len(packing_of(file))]


def stem_of(file: str) -> str:
    """A file's own name without what says how to read it."""
    stem = file.rsplit("/", 1)[-1]
    for end in (*_SHORT, *PACKINGS, *_CONTAINERS):
        if stem.lower().endswith(end):
            stem = stem[: -len(end)]
    return stem


def kind_of(file: str) -> str:
    """What a file that is not read is counted under: the end of its name, or that it has none."""
    name = file.rsplit("/", 1)[-1]
    _, dot, end = name[1:].rpartition(".")
    return f".{end.lower()}" if dot and 0 < len(end) <= 12 else "no suffix"
