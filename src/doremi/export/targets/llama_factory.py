"""LLaMA-Factory: names of data sets with probabilities of examples, and the entries that describe them."""

from __future__ import annotations

import json
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import pairs, yaml_at

UNIT = "examples, which are documents"


def files(blend: Blend, folder: Path) -> Files:
    """`train.yaml` and `dataset_info.json`. The list of names is split at commas, so a folder's name may have none."""
    names = [entry.key for entry in blend.entries]
    if bad := next((name for name in names if "," in name), None):
        raise ExportError(f"{bad!r}: LLaMA-Factory splits its list of names at commas; rename the domain")
    value = {
        "stage": "pt",
        "dataset": ",".join(names),
        "mix_strategy": "interleave_over",
        "streaming": True,  # else all draws are made at the start, until the rarest data set has been seen whole
        "interleave_probs": ",".join(decimal_text(entry.weight) for entry in blend.entries),
    }
    info = {entry.key: {"file_name": entry.paths[0], "columns": {"prompt": "text"}} for entry in blend.entries}
    yield "train.yaml", yaml_bytes(value, summary(blend, UNIT))
    yield "dataset_info.json", (json.dumps(info, indent=1, ensure_ascii=False) + "\n").encode()
    usage = [
        "Merge train.yaml into the training arguments, and dataset_info.json into the one of your dataset_dir.",
        "interleave_over repeats small data sets and ends when each has been seen whole. So set max_steps, which",
        "streaming asks for in any case.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def read(text: str) -> Weights:
    """Two lists with commas."""
    names, weights = yaml_at(text, "dataset"), yaml_at(text, "interleave_probs")
    return pairs(str(names).split(","), [word.strip() for word in str(weights).split(",")])


TARGET = Target(
    name="llama-factory",
    family="Hugging Face",
    description="LLaMA-Factory interleave_probs and dataset_info.json",
    unit=UNIT,
    files=files,
    main="train.yaml",
    read=read,
    counts="documents",
    key="folder",
)
