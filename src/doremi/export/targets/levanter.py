"""Levanter and Marin: weights of packed sequences, or stages of them.

Levanter makes every block of `mixture_block_size` sequences alike: of each data set its weight x block, rounded down,
and the largest gets the rest. A place in a block has 16 bits, which bounds the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from doremi.errors import ExportError
from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.schedule import stage_starts
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import mapping, yaml_at

UNIT = "packed sequences of one length, hence tokens"
_BLOCK, _LARGEST = 2048, 1 << 15  # Levanter's own, and the largest power of two that it takes
_SOME = 20  # sequences of the rarest domain in a block: rounding then costs it a twentieth at most


def files(blend: Blend, folder: Path) -> Files:
    """`data.yaml` with the data sets, and their weights or stages of weights."""
    configs = {
        entry.key: {"train_urls": list(entry.paths), "cache_dir": f"cache/{entry.key}"} for entry in blend.entries
    }
    weights: object = blend.weights
    block = _block_of_stages(blend) if blend.stages else _block(blend)
    data: dict[str, object] = {"configs": configs, "train_weights": weights, "mixture_block_size": block}
    if blend.stages:
        starts = stage_starts(blend, block)
        data["train_weights"] = [
            [start, stage.blend.weights] for start, stage in zip(starts, blend.stages, strict=True)
        ]
    yield "data.yaml", yaml_bytes({"data": {**data, "stop_strategy": "restart"}}, summary(blend, UNIT))
    usage = [
        "Merge data.yaml into the configuration, with the tokenizer of your data.",
        "Marin's newer LmDataConfig says components with a source of type url in place of configs.",
        "A weight of 0 keeps a data set for evaluation only. Small data sets start again where they end.",
        "A block has a whole number of sequences of each data set, rounded down. The largest gets the rest.",
    ]
    if blend.stages:
        usage.append("Stages start at multiples of mixture_block_size, whatever the batch is.")
    yield "README.txt", readme(blend, UNIT, usage)


def _block(blend: Blend) -> int:
    """Sequences of a block in which the rarest domain has some, as far as Levanter can have such blocks."""
    rarest = min(entry.weight for entry in blend.entries if entry.weight)
    block = _BLOCK
    while block < _LARGEST and block * rarest < _SOME:
        block *= 2
    return block


def _block_of_stages(blend: Blend) -> int:
    """The largest block of a power of two that shifts no stage by more than a hundredth of the training."""
    steps = blend.budget_tokens / (blend.step_tokens or blend.budget_tokens)
    block = _BLOCK
    while block > 1 and block > steps / 50:
        block //= 2
    starts = stage_starts(blend, block)
    if len(set(starts)) < len(starts):
        raise ExportError(f"two stages would start at the same step: {starts}; take fewer stages")
    return block


def _off(blend: Blend) -> Iterator[str]:
    """Of domains whose share in a block is another one, by more than a tenth."""
    block = _block_of_stages(blend) if blend.stages else _block(blend)
    wanted = {entry.key: float(entry.weight) * block for entry in blend.entries if entry.weight}
    off = [
        f"{key!r} gets {int(number)} where its weight says {number:.3g}"
        for key, number in wanted.items()
        if int(number) < 0.9 * number
    ]
    if off:
        more = f" and {len(off) - 3} more" if len(off) > 3 else ""
        yield f"Levanter draws whole sequences of each block of {block:,}: {', '.join(off[:3])}{more}"


def read(text: str) -> Weights:
    """By name; `ValueError` for stages."""
    weights = yaml_at(text, "data", "train_weights")
    if isinstance(weights, list):
        raise ValueError("has stages, which are a schedule and no mixture; make a file with the one that you mean")
    return mapping(weights)


TARGET = Target(
    name="levanter",
    family="JAX",
    description="Levanter and Marin train_weights, or stages of them",
    unit=UNIT,
    files=files,
    main="data.yaml",
    read=read,
    key="folder",
    groups=True,
    rule="They are one data set with one cache.",
    keeps_zeros=True,
    takes_stages=True,
    warns=_off,
)
