"""Axolotl: it takes no weights, so the mixture is written out as a data set, and this lists its files.

`doremi sample` draws the data set. Axolotl concatenates what it is given, and the shares are then right.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.target import Target, Weights

UNIT = "tokens of the data set that is drawn; Axolotl itself takes no weights"
FOLDER = "sampled"


def files(blend: Blend, folder: Path) -> Files:
    """`datasets.yaml` lists the files that the data set will have. `mixture.json` is what it is drawn by."""
    # a path that is no folder would be looked for on the hub; without data_files the receipt would be read as text
    source = {"path": FOLDER, "ds_type": "json", "data_files": f"{FOLDER}/*.jsonl"}
    listed = [{**source, "split": "train", "type": "completion"}]
    yield "datasets.yaml", yaml_bytes({"datasets": listed}, summary(blend, UNIT))
    weights = {domain.name: float(domain.weight) for domain in blend.domains}
    yield "mixture.json", (json.dumps(weights, indent=1, ensure_ascii=False) + "\n").encode()
    run, place = shlex.quote(str(blend.run.root.resolve())), folder.resolve()
    usage = [
        "First draw the data set, beside datasets.yaml. Its text is that of the run's own corpus:",
        f"  doremi sample {run} --tokens {blend.budget_tokens} --to jsonl \\",
        f"    --mixture {shlex.quote(str(place / 'mixture.json'))} --out {shlex.quote(str(place / FOLDER))}",
        "Then merge datasets.yaml into the configuration of Axolotl, with num_epochs: 1. Start Axolotl in this folder.",
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
