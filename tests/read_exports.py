"""For tests of exports: runs with awkward corpora, and readers of each documented form that share no code with ours."""

from __future__ import annotations

import json
import runpy
import struct
import warnings
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from doremi.corpus.value import Corpus
from doremi.rundir.layout import RunDirectory

AWKWARD: tuple[str, ...] = ("web", "C# & C++ (Q&A)", "it's a, name.v2 + more", "\u00dcbersetzung: {x} = 5%?")


def loader(name: str) -> ModuleType:
    """A trainer's module, or a skip that names it. What it warns of while being imported is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def weights_file(path: Path, weights: Mapping[str, float], **more: Any) -> Path:
    path.write_text(json.dumps({"format": 1, "unit": "tokens", "weights": weights, **more}), encoding="utf-8")
    return path


def edit_manifest(run: RunDirectory, **changes: Any) -> None:
    """Of the corpus, and of the run's part of it."""
    for folder in (run.whole_corpus().folder, run.corpus_folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def make_uint32(run: RunDirectory) -> None:
    """Rewrite the corpus with uint32 tokens, some of them above 65,535."""
    for path in run.whole_corpus().folder.glob("*/*.bin"):
        tokens = np.fromfile(path, dtype="<u2").astype("<u4")
        tokens[tokens == 7] = 250_007
        tokens.tofile(path)
    tokenizer = {**run.corpus().manifest["tokenizer"], "vocab_size": 256_000}
    edit_manifest(run, dtype="uint32", tokenizer=tokenizer)


def documents_of(corpus: Corpus, domain: str, split: str = "train") -> list[np.ndarray]:
    """The documents of a corpus file, straight from docs/formats.md."""
    dtype = {"uint16": "<u2", "uint32": "<u4"}[corpus.manifest["dtype"]]
    tokens = np.fromfile(corpus.path(domain, f"{split}.bin"), dtype=dtype)
    ends = np.fromfile(corpus.path(domain, f"{split}.ends"), dtype="<u8").astype(int)
    return np.split(tokens, ends[:-1])


def same_documents(found: list[Any], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


# Independent readers of the documented forms: names (or folders) in order and weights, exact.


def read_json_target(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = json.loads((folder / "mixture.json").read_text(encoding="utf-8"), parse_float=Decimal)
    return list(value["weights"]), list(value["weights"].values())


def read_megatron(folder: Path) -> tuple[list[str], list[Decimal]]:
    words = (folder / "blend.txt").read_text(encoding="utf-8").split()
    return [Path(prefix).parent.name for prefix in words[1::2]], [Decimal(word) for word in words[::2]]


def read_huggingface(folder: Path) -> tuple[list[str], list[Decimal]]:
    probabilities = runpy.run_path(str(folder / "mixture.py"))["PROBABILITIES"]
    return list(probabilities), [Decimal(repr(p)) for p in probabilities.values()]


def read_olmo(folder: Path) -> tuple[list[str], list[Decimal]]:
    sources = yaml.safe_load((folder / "sources.yaml").read_text(encoding="utf-8"))["sources"]
    return [s["source_name"] for s in sources], [Decimal(repr(s["target_ratio"])) for s in sources]


def read_nanotron(folder: Path) -> tuple[list[str], list[Decimal]]:
    (stage,) = yaml.safe_load((folder / "data_stages.yaml").read_text(encoding="utf-8"))["data_stages"]
    dataset = stage["data"]["dataset"]
    return [Path(f).name for f in dataset["dataset_folder"]], [Decimal(repr(w)) for w in dataset["dataset_weights"]]


READERS = {
    "json": read_json_target,
    "megatron": read_megatron,
    "huggingface": read_huggingface,
    "olmo": read_olmo,
    "nanotron": read_nanotron,
}


def read_indexed(prefix: Path) -> list[np.ndarray]:
    """Documents of a Megatron dataset, from the description of its format."""
    data = prefix.with_suffix(".idx").read_bytes()
    assert data[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, boundaries = struct.unpack("<QBQQ", data[9:34])
    assert (version, boundaries) == (1, sequences + 1)
    dtype = {8: "<u2", 4: "<i4"}[code]
    lengths = np.frombuffer(data, "<i4", sequences, 34)
    pointers = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    assert np.array_equal(np.frombuffer(data, "<i8", boundaries, 34 + 12 * sequences), np.arange(boundaries))
    assert len(data) == 34 + 12 * sequences + 8 * boundaries
    tokens = prefix.with_suffix(".bin").read_bytes()
    return [np.frombuffer(tokens, dtype, n, at) for n, at in zip(lengths, pointers, strict=True)]
