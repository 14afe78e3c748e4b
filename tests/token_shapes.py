"""The three domains of shaped.py as files of tokens, in every form that they come in."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from doremi.corpus.tokenizer import TextTokenizer, train_tokenizer
from shaped import WORDS, texts_of, write


@cache
def tokenizer() -> TextTokenizer:
    """A byte-level BPE; its end of text is id 0."""
    return train_tokenizer((text for topic in WORDS for text in texts_of(topic)), 400)


def ids_of(texts: list[str], *, ended: bool = True) -> list[list[int]]:
    """Each document's ids, with the end of text as a rule."""
    return [[*tokenizer().encode(text), *([0] if ended else [])] for text in texts]


def flat(documents: list[list[int]], dtype: str = "<u2") -> bytes:
    return np.concatenate([np.array(one, dtype) for one in documents]).tobytes() if documents else b""


def megatron_index(lengths: list[int], code: int, itemsize: int, bounds: list[int] | None = None) -> bytes:
    """Written out here, so that the reader is not tested with its own house's writer."""
    bounds = list(range(len(lengths) + 1)) if bounds is None else bounds
    places = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype("<i8") * itemsize if lengths else np.zeros(0, "<i8")
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(lengths), len(bounds))
    return head + np.array(lengths, "<i4").tobytes() + places.tobytes() + np.array(bounds, "<i8").tobytes()


def as_megatron(folder: Path, documents: list[list[int]]) -> None:
    """Two pairs, of different types; some documents are two sequences."""
    half = len(documents) // 2
    for name, part, code, dtype in (("a", documents[:half], 8, "<u2"), ("b", documents[half:], 4, "<i4")):
        write(folder / f"{name}_text_document.bin", flat(part, dtype))
        lengths, bounds = [], [0]
        for number, one in enumerate(part):
            lengths += [3, len(one) - 3] if number % 3 == 0 else [len(one)]
            bounds.append(len(lengths))
        write(folder / f"{name}_text_document.idx", megatron_index(lengths, code, np.dtype(dtype).itemsize, bounds))


def as_flat(folder: Path, documents: list[list[int]]) -> None:
    """nanoGPT's."""
    write(folder / "tokens.bin", flat(documents))


def as_llm_c(folder: Path, documents: list[list[int]]) -> None:
    head = np.zeros(256, "<i4")
    head[:3] = 20240520, 1, sum(map(len, documents))
    write(folder / "tokens.bin", head.tobytes() + flat(documents))


def as_npy(folder: Path, documents: list[list[int]]) -> None:
    """OLMo's without a header, and numpy's with one."""
    half = len(documents) // 2
    write(folder / "part-0-00000.npy", flat(documents[:half]))
    np.save(folder / "part-0-00001.npy", np.frombuffer(flat(documents[half:], "<u4"), "<u4"))


def as_datatrove(folder: Path, documents: list[list[int]]) -> None:
    write(folder / "00000_tokens.ds", flat(documents))
    write(folder / "00000_tokens.ds.index", np.cumsum([len(one) for one in documents]).astype("<u8").tobytes())
    write(folder / "00000_tokens.ds.metadata", f"gpt2|2\n{sum(map(len, documents))}\n1 T".encode())


def _table(documents: list[list[int]], kind: pa.DataType) -> pa.Table:
    columns = {"input_ids": pa.array(documents, kind), "attention_mask": pa.array([[1]] * len(documents))}
    return pa.table(columns)


def as_saved(folder: Path, documents: list[list[int]]) -> None:
    """As `datasets` saves it: a stream of batches, without ends."""
    folder.mkdir(parents=True)
    table = _table([one[:-1] for one in documents], pa.list_(pa.int32()))
    with ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, 7)
    write(folder / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}).encode())


def as_packed_arrow(folder: Path, documents: list[list[int]]) -> None:
    folder.mkdir(parents=True)
    table = _table(documents, pa.large_list(pa.int64()))
    with ipc.new_file(folder / "a.arrow", table.schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, 7)


def as_parquet(folder: Path, documents: list[list[int]]) -> None:
    folder.mkdir(parents=True)
    parquet.write_table(_table(documents, pa.list_(pa.int64())), folder / "a.parquet", row_group_size=9)


Writer = Callable[[Path, list[list[int]]], None]
FORMS: dict[str, Writer] = {
    "megatron": as_megatron, "flat": as_flat, "llm.c": as_llm_c, "npy": as_npy, "datatrove": as_datatrove,
    "saved": as_saved, "packed arrow": as_packed_arrow, "parquet": as_parquet,
}  # fmt: skip


def written(root: Path, forms: list[str]) -> dict[str, str]:
    """Each domain in a form, in a folder of its name; the tokenizer beside them in `tokenizer`. Folders by domain."""
    tokenizer().save(root / "tokenizer")
    for topic, form in zip(WORDS, forms, strict=True):
        FORMS[form](root / topic, ids_of(texts_of(topic)))
    return {topic: str(root / topic) for topic in WORDS}


def texts(stream: np.ndarray, ends: np.ndarray) -> Iterator[str]:
    """Of a row of tokens, without the ends."""
    for first, last in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        yield tokenizer().decode(stream[first : last - 1].tolist())
