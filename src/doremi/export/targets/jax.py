"""Trainers on JAX that draw records: MaxText, and Grain as a library."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from doremi.export.blend import Blend
from doremi.export.files import Files, python_bytes, readme, refuse_in_path
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import assigned, json_value, mapping, pairs, records

RECORDS = "records, which are documents"
_GRAIN = '''
def mix(sources):
    """One grain.MapDataset out of `sources`, a dict of path to MapDataset; it may be shuffled and repeated before."""
    import grain

    return grain.MapDataset.mix([sources[path] for path in WEIGHTS], weights=list(WEIGHTS.values()))
'''


def _maxtext(blend: Blend, folder: Path) -> Files:
    """`mixture.json` for grain_train_mixture_config_path, and grain_train_files as text where it can hold the weights.

    MaxText rounds weights in grain_train_files to four decimals, and normalises those of the JSON file.
    """
    for entry in blend.entries:
        refuse_in_path(entry.key, ",;", "MaxText")
    value = {entry.key: {"path": entry.key, "weight": float(entry.weight)} for entry in blend.entries}
    yield "mixture.json", (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    rest = f"num_epoch={_passes(blend)}"
    usage = [
        "On the command line of MaxText:",
        f"  dataset_type=grain grain_train_mixture_config_path=mixture.json {rest}",
        "Each path is a pattern of ArrayRecord files. The mixture ends where its first data set ends, and num_epoch is",
        "1 where nobody says it. So it must be above all epochs in the table.",
    ]
    if not _rounded_off(blend):
        words = ";".join(f"{entry.key},{decimal_text(entry.weight)}" for entry in blend.entries)
        yield "grain_train_files.txt", (words + "\n").encode()
        usage[2:2] = [f'  or  dataset_type=grain grain_train_files="$(cat grain_train_files.txt)" {rest}']
    yield "README.txt", readme(blend, RECORDS, usage)


def _passes(blend: Blend) -> str:
    """One more than the most often repeated domain needs at the budget; dots where a size is not known."""
    epochs = [entry.domain.epochs for entry in blend.entries]
    known = [number for number in epochs if number is not None]
    return str(1 + math.ceil(max(known))) if len(known) == len(epochs) else "..."


def _rounded_off(blend: Blend) -> list[str]:
    """Paths whose weight is another one by more than a twentieth in four decimals."""
    weights = {key: float(weight) for key, weight in blend.weights.items()}
    return [key for key, weight in weights.items() if abs(round(weight, 4) - weight) > weight / 20]


def _off(blend: Blend) -> Iterator[str]:
    if off := _rounded_off(blend):
        yield (
            f"MaxText rounds weights in grain_train_files to four decimals, too few for {off[0]!r} and {len(off) - 1} "
            "more, so mixture.json alone is written"
        )


def _grain(blend: Blend, folder: Path) -> Files:
    """`mixture.py` for the library alone. Grain refuses a weight of 0."""
    values = {"WEIGHTS": blend.weights}
    yield "mixture.py", python_bytes(blend, RECORDS, values, _GRAIN)
    usage = [
        "Copy mixture.py beside your script, then:",
        "  from mixture import WEIGHTS, mix",
        "  dataset = mix({path: your_source(path).shuffle(seed=0).repeat() for path in WEIGHTS})",
        "The mixture ends where its first source ends, so repeat them.",
    ]
    yield "README.txt", readme(blend, RECORDS, usage)


def _read_maxtext(text: str) -> Weights:
    if text.lstrip().startswith("{"):
        return records(json_value(text), "path", "weight")
    cut = [part.rpartition(",") for part in text.strip().split(";")]
    return pairs([path for path, _, _ in cut], [weight for _, _, weight in cut])


def _read_grain(text: str) -> Weights:
    return mapping(assigned(text, "WEIGHTS"))


TARGETS = (
    Target(
        name="maxtext",
        family="JAX",
        description="MaxText grain_train_mixture_config_path and grain_train_files",
        unit=RECORDS,
        files=_maxtext,
        main="mixture.json",
        read=_read_maxtext,
        counts="documents",
        warns=_off,
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
