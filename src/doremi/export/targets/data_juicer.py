"""data-juicer: data sets with weights of samples, and how many samples to draw."""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import records, yaml_at

UNIT = "samples, which are documents"


def files(blend: Blend, folder: Path) -> Files:
    """`dataset.yaml`. A weight of 0 would mean the whole data set to data-juicer."""
    value = {
        "dataset": {
            "max_sample_num": blend.units,
            "configs": [{"type": "local", "path": entry.key, "weight": entry.weight} for entry in blend.entries],
        }
    }
    yield "dataset.yaml", yaml_bytes(value, summary(blend, UNIT))
    usage = [
        "Merge dataset.yaml into the recipe. max_sample_num is the budget in samples.",
        "data-juicer rounds the samples of each data set up, and the last ones get what is left of max_sample_num.",
        "A tiny weight at the end of the list may get none.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def read(text: str) -> Weights:
    """The list of data sets."""
    return records(yaml_at(text, "dataset", "configs"), "path", "weight")


TARGET = Target(
    name="data-juicer",
    family="mixers",
    description="data-juicer data sets with weights and max_sample_num",
    unit=UNIT,
    files=files,
    main="dataset.yaml",
    read=read,
    counts="documents",
)
