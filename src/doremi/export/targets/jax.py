"""Trainers on JAX: MaxText and Grain, which draw records, and Levanter with Marin, which draw packed sequences."""

from __future__ import annotations

import json
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.files import Files, python_bytes, readme, refuse_in_path, summary, yaml_bytes
from doremi.export.rounding import decimal_text
from doremi.export.schedule import stage_starts
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import assigned, json_value, mapping, pairs, records, yaml_at

RECORDS = "records, which are documents"
SEQUENCES = "packed sequences of one length, hence tokens"
_BLOCK = 2048  # Levanter's own mixture_block_size, in sequences
_GRAIN = '''
def mix(sources):
    """One grain.MapDataset out of `sources`, a dict of path to MapDataset; it may be shuffled and repeated before."""
    import grain

    return grain.MapDataset.mix([sources[path] for path in WEIGHTS], weights=list(WEIGHTS.values()))
'''


def _maxtext(blend: Blend, folder: Path) -> Files:
    """`mixture.json` for grain_train_mixture_config_path, and grain_train_files as text."""
    for entry in blend.entries:
        refuse_in_path(entry.key, ",;", "MaxText")
    value = {entry.key: {"path": entry.key, "weight": float(entry.weight)} for entry in blend.entries}
    words = ";".join(f"{entry.key},{decimal_text(entry.weight)}" for entry in blend.entries)
    yield "mixture.json", (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    yield "grain_train_files.txt", (words + "\n").encode()
    usage = [
        "On the command line of MaxText, one of",
        "  dataset_type=grain grain_train_mixture_config_path=mixture.json",
        '  dataset_type=grain grain_train_files="$(cat grain_train_files.txt)"',
        "Each path is a pattern of ArrayRecord files.",
    ]
    yield "README.txt", readme(blend, RECORDS, usage)


def _grain(blend: Blend, folder: Path) -> Files:
    """`mixture.py` for the library alone. Grain refuses a weight of 0."""
    values = {"WEIGHTS": {entry.key: entry.weight for entry in blend.entries}}
    yield "mixture.py", python_bytes(blend, RECORDS, values, _GRAIN)
    usage = [
        "Copy mixture.py beside your script, then:",
        "  from mixture import WEIGHTS, mix",
        "  dataset = mix({path: your_source(path).shuffle(seed=0).repeat() for path in WEIGHTS})",
        "The mixture ends where its first source ends, so repeat them.",
    ]
    yield "README.txt", readme(blend, RECORDS, usage)


def _levanter(blend: Blend, folder: Path) -> Files:
    """`data.yaml` with the data sets, and their weights or stages of weights."""
    configs = {
        entry.key: {"train_urls": list(entry.paths), "cache_dir": f"cache/{entry.key}"} for entry in blend.entries
    }
    weights: object = {entry.key: entry.weight for entry in blend.entries}
    data: dict[str, object] = {"configs": configs, "train_weights": weights}
    if blend.stages:
        step = _block(blend)
        starts = stage_starts(blend, step)
        data["train_weights"] = [
            [start, {entry.key: entry.weight for entry in stage.blend.entries}]
            for start, stage in zip(starts, blend.stages, strict=True)
        ]
        data["mixture_block_size"] = step
    yield "data.yaml", yaml_bytes({"data": {**data, "stop_strategy": "restart"}}, summary(blend, SEQUENCES))
    usage = [
        "Merge data.yaml into the configuration, with the tokenizer of your data.",
        "Marin's newer LmDataConfig says components with a source of type url in place of configs.",
        "A weight of 0 keeps a data set for evaluation only. Small data sets start again where they end.",
    ]
    if blend.stages:
        usage.append("Stages start at multiples of mixture_block_size, whatever the batch is.")
    yield "README.txt", readme(blend, SEQUENCES, usage)


def _block(blend: Blend) -> int:
    """The largest block of a power of two that shifts no stage by more than a hundredth of the training."""
    steps = blend.budget_tokens / (blend.step_tokens or blend.budget_tokens)
    block = _BLOCK
    while block > 1 and block > steps / 50:
        block //= 2
    starts = stage_starts(blend, block)
    if len(set(starts)) < len(starts):
        raise ExportError(f"two stages would start at the same step: {starts}; take fewer stages")
    return block


def _read_maxtext(text: str) -> Weights:
    if text.lstrip().startswith("{"):
        return records(json_value(text), "path", "weight")
    cut = [part.rpartition(",") for part in text.strip().split(";")]
    return pairs([path for path, _, _ in cut], [weight for _, _, weight in cut])


def _read_grain(text: str) -> Weights:
    return mapping(assigned(text, "WEIGHTS"))


def _read_levanter(text: str) -> Weights:
    weights = yaml_at(text, "data", "train_weights")
    if isinstance(weights, list):
        raise ValueError("has stages, which are a schedule and no mixture; make a file with the one that you mean")
    return mapping(weights)


TARGETS = (
    Target(
        name="levanter",
        family="JAX",
        description="Levanter and Marin train_weights, or stages of them",
        unit=SEQUENCES,
        files=_levanter,
        main="data.yaml",
        read=_read_levanter,
        key="folder",
        groups=True,
        rule="They are one data set with one cache.",
        keeps_zeros=True,
        takes_stages=True,
    ),
    Target(
        name="maxtext",
        family="JAX",
        description="MaxText grain_train_mixture_config_path and grain_train_files",
        unit=RECORDS,
        files=_maxtext,
        main="mixture.json",
        read=_read_maxtext,
        counts="documents",
    ),
    Target(
        name="grain",
        family="JAX",
        description="grain.MapDataset.mix as a Python file",
        unit=RECORDS,
        files=_grain,
        main="mixture.py",
        read=_read_grain,
        counts="documents",
    ),
)
