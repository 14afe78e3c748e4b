"""The same three domains in every shape that a corpus comes in, for tests that prepare and run them."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard
from pyarrow import ipc, parquet

from every import tar_of

WORDS = {
    "web": "the river market people often walk small city garden music light evening train story share bread",
    "code": "def return self class import value index range print list dict none true false while break",
    "law": "court shall party section act order clause person notice duty right claim term state case judge",
}
SMALL = [  # held out are so many tokens that a piece is a whole document
    *["model.preset=0.1m", "training.steps=20", "training.batch_size=8", "data.sequence_length=32"],
    *["data.vocab_size=400", "data.workers=1", "data.validation_max_tokens=20000", "candidates.seeds=1"],
    "candidates.mixtures=[doremi, natural, uniform]",
]


def texts_of(topic: str, number: int = 60) -> list[str]:
    """Documents of three lines, with quotes, commas and letters that are not ASCII."""
    rng, words = random.Random(topic), WORDS[topic].split()
    line = [" ".join(rng.choices(words, k=15)) for _ in range(3 * number)]
    return [f'{topic} {i}, "{line[3 * i]}"\n{line[3 * i + 1]}\n\u00e4: {line[3 * i + 2]}' for i in range(number)]


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# -- one folder a domain ---------------------------------------------------------------------------------------------


def as_csv(folder: Path, texts: list[str], delimiter: str = ",") -> None:
    folder.mkdir(parents=True)
    with (folder / ("a.csv" if delimiter == "," else "a.tsv")).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *enumerate(texts)])


def as_tsv(folder: Path, texts: list[str]) -> None:
    as_csv(folder, texts, "\t")


def as_feather(folder: Path, texts: list[str]) -> None:
    """Large strings, in an Arrow file."""
    folder.mkdir(parents=True)
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    with ipc.new_file(folder / "a.feather", table.schema) as writer:
        writer.write_table(table, 7)


def as_saved(folder: Path, texts: list[str]) -> None:
    """As `datasets` saves it: Arrow streams and what they are called, beside one that an earlier dataset left."""
    folder.mkdir(parents=True)
    half = len(texts) // 2
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for name, part in zip([*names, "data-00000-of-00001.arrow"], [texts[:half], texts[half:], ["old"]], strict=True):
        table = pa.table({"text": pa.array(part).dictionary_encode()})
        with ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table)
    write(folder / "state.json", json.dumps({"_data_files": [{"filename": name} for name in names]}, indent=2).encode())
    write(folder / "dataset_info.json", json.dumps({"features": {"text": {"dtype": "string"}}}, indent=2).encode())


def as_tar(folder: Path, texts: list[str]) -> None:
    """Texts and what else lies in archives: folders, hidden files, pictures, files of a test split."""
    members = {f"texts/{i:04}.txt": text.encode() for i, text in enumerate(texts)}
    odd = {"texts/._0000.txt": b"x", "cover.png": b"\x89PNG", "test/held.txt": b"a test"}
    write(folder / "a.tar.gz", gzip.compress(tar_of({**odd, **members})))


def as_sources(folder: Path, texts: list[str]) -> None:
    """Programs, one file a document, beside what is none."""
    for i, text in enumerate(texts):
        write(folder / f"part {i % 3}" / f"{i:04}.py", text.encode())
    write(folder / "part 0" / "logo.svg", b"<svg/>")
    write(folder / ".git" / "hook.py", b"hidden")


def as_nested(folder: Path, texts: list[str]) -> None:
    """Columns in columns, some rows of another language."""
    rows = [{"doc": {"body": text}, "language": "en"} for text in texts]
    folder.mkdir(parents=True)
    parquet.write_table(
        pa.Table.from_pylist([*rows, {"doc": {"body": "nein"}, "language": "de"}]), folder / "a.parquet"
    )


def as_messages(folder: Path, texts: list[str]) -> None:
    """Lists of messages, in archives of several members and frames."""
    records = [
        {"messages": [{"role": "user", "content": part} for part in text.partition("\n")[::2]]} for text in texts
    ]
    half = len(records) // 2
    write(folder / "a.jsonl.gz", gzip.compress(lines(records[:half])) + gzip.compress(b""))
    rest = [zstandard.compress(lines(records[half:-1])), zstandard.compress(lines(records[-1:]))]
    write(folder / "b.jsonl.zst", b"".join(rest))


Writer = Callable[[Path, list[str]], None]
SHAPES: dict[str, tuple[Writer, dict[str, Any], str]] = {
    "csv": (as_csv, {}, ""),
    "tsv": (as_tsv, {}, ""),
    "feather": (as_feather, {}, ""),
    "saved": (as_saved, {}, ""),
    "tar": (as_tar, {}, ""),
    "sources": (as_sources, {}, "**/*.py"),
    "nested": (as_nested, {"text_field": "doc.body", "where": {"language": "en"}}, ""),
    "messages": (as_messages, {"text_field": "messages.content", "join": "\n"}, ""),
}
"""How each shape is written, what a domain says of it, and the pattern in its folder."""


# -- all domains in one file -----------------------------------------------------------------------------------------


def mixed(topics: list[str]) -> list[dict[str, Any]]:
    """Records of all domains in turn, some of none, and a few of a rare one."""
    rows = zip(*(texts_of(topic) for topic in topics), strict=True)
    records = [
        {"text": text, "meta": {"source": topic}} for row in rows for topic, text in zip(topics, row, strict=True)
    ]
    return [*records, {"text": "of none", "meta": {}}, {"text": "of a rare one", "meta": {"source": "blog"}}]
