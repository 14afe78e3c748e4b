"""Megatron-Energon: a metadataset whose blend counts samples, which are documents before they are packed."""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import records, yaml_at

UNIT = "samples, which are documents"


def files(blend: Blend, folder: Path) -> Files:
    """`metadataset.yaml`. Energon asserts that weights are positive; a relative path is relative to the file."""
    listed = [{"weight": entry.weight, "path": entry.key} for entry in blend.entries]
    value = {
        "__module__": "megatron.energon",
        "__class__": "MetadatasetV2",
        "splits": {"train": {"blend": listed}},
    }
    yield "metadataset.yaml", yaml_bytes(value, summary(blend, UNIT))
    usage = [
        "Each path is a data set that `energon prepare` has seen. In the training script:",
        "  get_train_dataset('metadataset.yaml', split_part='train', ...)",
        "A relative path is relative to metadataset.yaml.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def read(text: str) -> Weights:
    """The blend of the training split."""
    return records(yaml_at(text, "splits", "train", "blend"), "path", "weight")


TARGET = Target(
    name="energon",
    family="streams",
    description="Megatron-Energon metadataset",
    unit=UNIT,
    files=files,
    main="metadataset.yaml",
    read=read,
    counts="documents",
)
