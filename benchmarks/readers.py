"""Readers against what they stand on: megabytes of text a second from each kind of file, and from its raw parts.

    python benchmarks/readers.py [--megabytes 16] [--rounds 5]

Raw is the least that anyone must do: read the bytes, decompress them in one piece, parse each line as JSON (orjson, and
Python's own json for comparison), or read a Parquet column whole. The text is Python's library source, a file a
document. The last figure is the slowest reader's share of the time that one core then takes to tokenise what it read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import zstandard
from pyarrow import parquet

from doremi.corpus.readers import read_documents
from doremi.corpus.tokenizer import train_tokenizer
from figures import figure, interleaved, ratio
from prepare import BATCH, _library_texts

KINDS = ("jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt")


def write(folder: Path, texts: list[str]) -> dict[str, Path]:
    """The same documents as a file of each kind; as plain text all of them are one."""
    lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode()
    paths = {kind: folder / f"text.{kind}" for kind in KINDS}
    paths["jsonl"].write_bytes(lines)
    paths["jsonl.gz"].write_bytes(gzip.compress(lines, 6))
    paths["jsonl.zst"].write_bytes(zstandard.ZstdCompressor(3).compress(lines))
    paths["txt"].write_text("".join(texts), encoding="utf-8")
    parquet.write_table(pa.table({"text": texts}), paths["parquet"], row_group_size=1000)
    return paths


def ours(path: Path) -> int:
    return sum(len(text) for text in read_documents([str(path)], text_field="text", domain="bench"))


def raw(path: Path, loads: Callable[[bytes], Any]) -> int:
    """The same texts by the shortest way, whole files in memory."""
    if path.suffix == ".parquet":
        return sum(map(len, parquet.read_table(path, columns=["text"])["text"].to_pylist()))
    data = path.read_bytes()
    if path.suffix == ".txt":
        return len(data.decode())
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompress(data)
    return sum(len(loads(line)["text"]) for line in data.splitlines())


def tokenising_rate(texts: list[str]) -> float:
    """Megabytes a second of the tokenizer library on one core."""
    tokenizer = train_tokenizer((text[:2000] for text in texts), 8192).backend
    sample = texts[:: max(1, len(texts) // 200)]
    start = time.perf_counter()
    for first in range(0, len(sample), BATCH):
        tokenizer.encode_batch_fast(sample[first : first + BATCH], add_special_tokens=False)
    return sum(len(text.encode()) for text in sample) / 1e6 / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    texts = _library_texts(int(arguments.megabytes * 1e6))
    size = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as name:
        paths = write(Path(name), texts)
        ways: dict[str, Callable[[], object]] = {f"{kind}": partial(ours, path) for kind, path in paths.items()}
        ways |= {f"{kind} raw": partial(raw, path, orjson.loads) for kind, path in paths.items()}
        ways["jsonl raw, json"] = partial(raw, paths["jsonl"], json.loads)
        seconds = interleaved(ways, arguments.rounds, warm_up=1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenising = size / tokenising_rate(texts)
    for way, values in seconds.items():
        print(f"{way:<16} {size / statistics.median(values):8.0f} MB/s")
    for kind in KINDS:
        middle, low, high = ratio(seconds, kind, f"{kind} raw")
        figure(f"reader_{kind.replace('.', '_')}_over_raw", middle, "ratio", low=round(low, 3), high=round(high, 3))
    figure("json_over_orjson", ratio(seconds, "jsonl raw, json", "jsonl raw")[0], "ratio")
    slowest = max(statistics.median(seconds[kind]) for kind in KINDS)
    figure("slowest_reader_share_of_tokenising", slowest / tokenising, "share")


if __name__ == "__main__":
    main()
