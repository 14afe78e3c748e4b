"""For tests of exports: runs with awkward corpora, and readers of each documented form that share no code with ours."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import struct
import subprocess
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from doremi.corpus.value import Corpus
from doremi.mixture.domains import folder_name
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
    tokenizer = {**asdict(run.corpus().tokenizer), "vocab_size": 256_000}
    edit_manifest(run, dtype="uint32", tokenizer=tokenizer)


def documents_of(corpus: Corpus, domain: str, split: str = "train") -> list[np.ndarray]:
    """The documents of a corpus file, straight from docs/formats.md."""
    dtype = {"uint16": "<u2", "uint32": "<u4"}[corpus.dtype]
    tokens = np.fromfile(corpus.path(domain, f"{split}.bin"), dtype=dtype)
    ends = np.fromfile(corpus.path(domain, f"{split}.ends"), dtype="<u8").astype(int)
    return np.split(tokens, ends[:-1])


def same_documents(found: list[Any], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


# Independent readers of the documented forms: names (or folders, or paths) in order and weights, exact.


def load_yaml(text: str) -> Any:
    """By libyaml where it is there, which is ten times as fast."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


Reader = Callable[[Path], tuple[list[str], list[Decimal]]]


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
    sources = load_yaml((folder / "sources.yaml").read_text(encoding="utf-8"))["sources"]
    return [s["source_name"] for s in sources], [Decimal(repr(s["target_ratio"])) for s in sources]


def read_nanotron(folder: Path) -> tuple[list[str], list[Decimal]]:
    (stage,) = load_yaml((folder / "data_stages.yaml").read_text(encoding="utf-8"))["data_stages"]
    dataset = stage["data"]["dataset"]
    return [Path(f).name for f in dataset["dataset_folder"]], [Decimal(repr(w)) for w in dataset["dataset_weights"]]


def read_yaml_list(file: str, *keys: str, name: str, weight: str) -> Reader:
    def read(folder: Path) -> tuple[list[str], list[Decimal]]:
        value = load_yaml((folder / file).read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        listed = value.values() if isinstance(value, dict) else value
        return [one[name] for one in listed], [Decimal(repr(one[weight])) for one in listed]

    return read


def read_yaml_map(file: str, *keys: str) -> Reader:
    def read(folder: Path) -> tuple[list[str], list[Decimal]]:
        value = load_yaml((folder / file).read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        return list(value), [Decimal(repr(weight)) for weight in value.values()]

    return read


def read_python(file: str, name: str) -> Reader:
    def read(folder: Path) -> tuple[list[str], list[Decimal]]:
        value = runpy.run_path(str(folder / file))[name]
        return list(value), [Decimal(repr(weight)) for weight in value.values()]

    return read


def read_nemo(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = load_yaml((folder / "blend.yaml").read_text(encoding="utf-8"))
    assert value["paths"] == value["data_prefix"]
    words = value["paths"] if isinstance(value["paths"], list) else value["paths"]["train"]
    return words[1::2], [Decimal(word) for word in words[::2]]


def read_neox(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = load_yaml((folder / "data.yml").read_text(encoding="utf-8"))
    return value["train-data-paths"], [Decimal(repr(weight)) for weight in value["train-data-weights"]]


def read_automodel(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = load_yaml((folder / "domain_mixture.yaml").read_text(encoding="utf-8"))
    listed, words = value["domain_mixture"]["domains"], value["dataset"]["paths"]
    assert [one["path"] for one in listed] == words[1::2]
    assert [one["objective_weight"] for one in listed] == [float(word) for word in words[::2]]
    return [one["name"] for one in listed], [Decimal(repr(one["sampling_weight"])) for one in listed]


def read_foundry(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = load_yaml((folder / "train_loader.yaml").read_text(encoding="utf-8"))
    streams = value["train_loader"]["dataset"]["streams"]
    return list(streams), [Decimal(repr(stream["proportion"])) for stream in streams.values()]


def read_llama_factory(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = load_yaml((folder / "train.yaml").read_text(encoding="utf-8"))
    names = value["dataset"].split(",")
    assert list(json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))) == names
    return names, [Decimal(word) for word in value["interleave_probs"].split(",")]


def read_swift(folder: Path) -> tuple[list[str], list[Decimal]]:
    command = f"source {shlex.quote(str(folder / 'arguments.sh'))}; printf '%s\\n' \"${{MIXTURE[@]}}\""
    words = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    cut = words.index("--interleave_prob")
    end = words.index("--stopping_strategy")
    return words[1:cut], [Decimal(word) for word in words[cut + 1 : end]]


def read_maxtext(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = json.loads((folder / "mixture.json").read_text(encoding="utf-8"), parse_float=Decimal)
    weights = [one["weight"] for one in value.values()]
    words = folder / "grain_train_files.txt"
    assert words.exists() == all(abs(round(weight, 4) - weight) <= weight / 20 for weight in weights)
    if words.exists():
        cut = [one.split(",") for one in words.read_text(encoding="utf-8").strip().split(";")]
        assert [(path, Decimal(weight)) for path, weight in cut] == [
            (one["path"], one["weight"]) for one in value.values()
        ]
    return list(value), weights


def read_official(folder: Path) -> tuple[list[str], list[Decimal]]:
    value = json.loads((folder / "doremi.json").read_text(encoding="utf-8"), parse_float=Decimal)
    assert value["train_domain_weights"] == value["eval_domain_weights"]
    return list(value["train_domain_weights"]), list(value["train_domain_weights"].values())


def read_csv(folder: Path) -> tuple[list[str], list[Decimal]]:
    with (folder / "mixture.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["domain"] for row in rows], [Decimal(row["weight"]) for row in rows]


def read_olmix(folder: Path) -> tuple[list[str], list[Decimal]]:
    with (folder / "ratios.csv").open(encoding="utf-8", newline="") as file:
        head, row = csv.reader(file)
    return head[3:], [Decimal(word) for word in row[3:]]


LINKING = ("megatron", "nanotron", "nemo", "megatron-bridge", "gpt-neox", "automodel")
"""Targets that link the token files."""
READERS: dict[str, Reader] = {
    "json": read_json_target,
    "doremi": read_official,
    "csv": read_csv,
    "yaml": read_yaml_map("mixture.yaml", "weights"),
    "megatron": read_megatron,
    "nemo": read_nemo,
    "megatron-bridge": read_python("blend.py", "WEIGHTS"),
    "gpt-neox": read_neox,
    "automodel": read_automodel,
    "olmo": read_olmo,
    "nanotron": read_nanotron,
    "torchtitan": read_python("mixture.py", "WEIGHTS"),
    "energon": read_yaml_list("metadataset.yaml", "splits", "train", "blend", name="path", weight="weight"),
    "streaming": read_python("streams.py", "PROPORTIONS"),
    "llm-foundry": read_foundry,
    "litdata": read_python("mixture.py", "WEIGHTS"),
    "litgpt": read_python("mixture.py", "WEIGHTS"),
    "huggingface": read_huggingface,
    "llama-factory": read_llama_factory,
    "ms-swift": read_swift,
    "lingua": read_yaml_map("data.yaml", "data", "sources"),
    "levanter": read_yaml_map("data.yaml", "data", "train_weights"),
    "maxtext": read_maxtext,
    "grain": read_python("mixture.py", "WEIGHTS"),
    "data-juicer": read_yaml_list("dataset.yaml", "dataset", "configs", name="path", weight="weight"),
    "olmix": read_olmix,
    "regmix": read_yaml_map("mixture.yaml", "train"),
}


def domain_in(name: str) -> str:
    """The awkward domain that a file means: by name, by folder, or by a path with its folder."""
    name = name.removeprefix("train_")
    folders = {folder_name(one): one for one in AWKWARD}
    return name if name in AWKWARD else next(folders[part] for part in name.split("/") if part in folders)


def number_in(name: str) -> int:
    """The number of `domain 7`, or of a path with `domain-7`."""
    found = re.findall(r"domain[- ](\d+)", name)
    return int(found[-1])


def order_in(target: str, names: list[Any], key: Callable[[Any], str] = str) -> list[Any]:
    """The official code sorts names. All others keep the order of the corpus."""
    return sorted(names, key=key) if target == "doremi" else names


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
