"""torchtitan: a mix of weighted data sets as a Python file. Each child is packed first, so weights count tokens."""

from __future__ import annotations

from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, python_bytes, readme
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import assigned, mapping

UNIT = "what each packed data set gives, sequences of one length, hence tokens"
_CODE = '''
def mix(datasets):
    """The configuration of a mix out of `datasets`, a dict of path to packed data set that repeats itself."""
    from torchtitan.components.data.dataset import DatasetMixConfig, WeightedDataset

    return DatasetMixConfig(
        datasets=tuple(WeightedDataset(dataset=datasets[path], weight=weight) for path, weight in WEIGHTS.items())
    )


def interleaved(datasets, seed=42):
    """The same for torchtitan 0.3, whose InterleavedDataset takes data sets and weights."""
    from torchtitan.hf_datasets.interleaved import InterleavedDataset

    return InterleavedDataset(
        [datasets[path] for path in WEIGHTS], list(WEIGHTS.values()), seed=seed, stopping_strategy="all_exhausted"
    )
'''


def files(blend: Blend, folder: Path) -> Files:
    """`mixture.py`. torchtitan rejects a weight of 0."""
    values = {"WEIGHTS": blend.weights}
    yield "mixture.py", python_bytes(blend, UNIT, values, _CODE)
    usage = [
        "Copy mixture.py beside your trainer's configuration, then:",
        "  from mixture import WEIGHTS, mix",
        "  mix({path: your_packed_dataset(path) for path in WEIGHTS})",
        "Pack each data set before it is mixed: a mix of documents would count documents.",
        "Without repeat a mix ends where its first data set ends.",
    ]
    yield "README.txt", readme(blend, UNIT, usage)


def read(text: str) -> Weights:
    """The weights by path."""
    return mapping(assigned(text, "WEIGHTS"))


TARGET = Target(
    name="torchtitan",
    family="token files",
    description="torchtitan DatasetMixConfig as a Python file",
    unit=UNIT,
    files=files,
    main="mixture.py",
    read=read,
)
