"""Axolotl: it takes no weights, so the mixture is written out as a data set, and this lists its files.

`doremi sample` draws the data set. Axolotl concatenates what it is given, and the shares are then right.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.target import Target, Weights

UNIT = "tokens of the data set that is drawn; Axolotl itself takes no weights"
FOLDER = "sampled"


def files(blend: Blend, folder: Path) -> Files:
    """`datasets.yaml`: the files that the data set will have, one folder a domain."""
    listed = [
        {"path": "json", "data_files": f"{FOLDER}/{domain.folder}/*.jsonl", "split": "train", "type": "completion"}
        for domain in blend.kept
    ]
    yield "datasets.yaml", yaml_bytes({"datasets": listed}, summary(blend, UNIT))
    run = shlex.quote(str(blend.run.root))
    usage = [
        "First draw the data set, beside datasets.yaml:",
        f"  doremi sample {run} --tokens {blend.budget_tokens} --to jsonl --out {FOLDER}",
        "Then merge datasets.yaml into the configuration of Axolotl, with pretraining in num_epochs: 1.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def read(text: str) -> Weights:
    """There are no weights to read."""
    raise ValueError("holds no weights, since Axolotl takes none; import the mixture that it was drawn from")


TARGET = Target(
    name="axolotl",
    family="Hugging Face",
    description="Axolotl dataset list of a resampled data set, since it takes no weights",
    unit=UNIT,
    files=files,
    main="datasets.yaml",
    read=read,
    key="folder",
    data="names",
)
