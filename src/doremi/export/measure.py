"""What a path that can be read here says of its size: tokens, documents, and the mean length of these.

Indices of trainers are read whole, since they are small. Text is read from the head of each file only. Its mean length
is that of a sample of the user's own data, and the export says how many documents that were.
"""

from __future__ import annotations

import glob
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from doremi.corpus.readers import read_documents
from doremi.corpus.sources import DomainSource, find_files, paths
from doremi.corpus.tokenizer import load_tokenizer
from doremi.errors import DataError

MOST_DOCUMENTS = 2000  # of text: the mean of lengths that spread as widely as their mean is then known to 2 %


@dataclass(frozen=True)
class Measured:
    """What was found. None is not known. `documents` are what the trainer counts there: documents or samples."""

    tokens: int | None = None
    documents: int | None = None
    read: int | None = None
    """Documents that the mean length was measured on, where these were not all."""
    mean: float | None = None

    @property
    def tokens_per_document(self) -> float | None:
        return self.mean or (self.tokens / self.documents if self.tokens and self.documents else None)


def measure_index(path: str, itemsize: int) -> Measured:
    """The size of `path` out of an index that lies there; empty where there is none that we know.

    A Megatron prefix, a folder of datatrove, MosaicML or LitData, or raw arrays of tokens of `itemsize` bytes.
    """
    for find in (_megatron, _datatrove, index_of_samples):
        found = find(path)
        if found is not None:
            return found
    return _arrays(path, itemsize)


def measure_text(places: Sequence[str], tokenizer_folder: Path, domain: str) -> Measured:
    """The mean length of text in tokens of the run's tokenizer, its end of text included; empty where none is found."""
    if any("://" in place for place in places):
        return Measured()
    try:
        found = find_files(DomainSource(tuple(places)), key=f"the paths of {domain!r}")
        files = paths(found.train)
        each = max(1, MOST_DOCUMENTS // len(files))
        texts = [text for file in files[:MOST_DOCUMENTS] for text in islice(_texts(file, domain), each)]
    except DataError:
        return Measured()
    if not texts:
        return Measured()
    tokenizer = load_tokenizer(str(tokenizer_folder))
    tokens = sum(len(tokenizer.encode(text)) + 1 for text in texts)
    return Measured(read=len(texts), mean=tokens / len(texts))


def bytes_at(path: str) -> int | None:
    """Bytes of what lies at a path or pattern; None where nothing can be seen here."""
    if "://" in path:
        return None
    found = [Path(one) for one in glob.glob(path)] or [Path(f"{path}.bin")]  # noqa: PTH207 - of a text, not a path
    files = [file for one in found for file in ([one] if one.is_file() else sorted(one.rglob("*"))) if file.is_file()]
    return sum(file.stat().st_size for file in files) or None


def _texts(file: str, domain: str) -> Iterator[str]:
    return read_documents([file], text_field="text", domain=domain)


def _megatron(path: str) -> Measured | None:
    index = Path(f"{path}.idx")
    if "://" in path or not index.is_file():
        return None
    with index.open("rb") as file:
        head = file.read(34)
        if len(head) < 34 or head[:9] != b"MMIDIDX\x00\x00":
            return None
        _, _, sequences, boundaries = struct.unpack("<QBQQ", head[9:])
    if not sequences:
        return Measured(0, 0)
    return Measured(int(np.memmap(index, "<i4", "r", 34, (sequences,)).sum(dtype=np.int64)), boundaries - 1)


def _datatrove(path: str) -> Measured | None:
    """Each index holds where the documents of its file end."""
    ends = [np.fromfile(index, "<u8") for index in sorted(Path(path).glob("*.ds.index"))] if _here(path) else []
    if not ends:
        return None
    return Measured(sum(int(end[-1]) for end in ends if len(end)), sum(map(len, ends)))


def index_of_samples(path: str) -> Measured | None:
    """MosaicML lists shards with samples, LitData lists chunks with tokens; None where neither is there."""
    index = Path(path) / "index.json"
    if not _here(path) or not index.is_file():
        return None
    try:
        value = json.loads(index.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return _shards(value) if isinstance(value, dict) else None


def _shards(value: dict[str, Any]) -> Measured | None:
    shards, chunks = value.get("shards"), value.get("chunks")
    if isinstance(shards, list):
        return Measured(documents=sum(int(shard["samples"]) for shard in shards))
    if isinstance(chunks, list):
        return Measured(sum(int(chunk.get("dim") or 0) for chunk in chunks) or None)
    return None


def _arrays(path: str, itemsize: int) -> Measured:
    if not path.endswith((".npy", ".bin")):
        return Measured()
    size = bytes_at(path)
    return Measured(tokens=size // itemsize) if size else Measured()


def _here(path: str) -> bool:
    return "://" not in path and Path(path).is_dir()
