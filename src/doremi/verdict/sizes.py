"""Whether the ranking of the candidates holds as models grow: verdicts of several sizes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from doremi.verdict.compare import FLIPPED, LOSS, WIN


def summary(verdict: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    """An entry of `sizes` in verdict.json: one size's means, order and comparisons on the target that decides."""
    target = verdict["recommendation"]["target"]
    means = {c["name"]: c["mean"][target]["bits_per_byte"] for c in verdict["candidates"]}
    keep = ("candidate", "opponent", "difference", "relative", "interval", "outcome")
    return {
        "size": verdict["size"],
        "parameters": parameters,
        "tokens": verdict["tokens"],
        "bits_per_byte": means,
        "order": sorted(means, key=lambda name: means[name]),
        "recommended": verdict["recommendation"]["mixture"],
        "comparisons": [{k: c[k] for k in keep} for c in verdict["comparisons"] if c["target"] == target],
    }


def ranking(sizes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether what is decided at one size is not the other way round at another; `sizes` from small to large.

    `holds` is None where no pair is decided at two sizes, so that nothing can be said.
    """
    decided: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for entry in sizes:
        for one in entry["comparisons"]:
            if one["outcome"] in (WIN, LOSS):
                pair, result = _ordered(one)
                decided.setdefault(pair, []).append((entry["size"], result))
    twice = {pair: found for pair, found in decided.items() if len(found) > 1}
    turned = {pair: found for pair, found in twice.items() if len({result for _, result in found}) > 1}
    if turned:
        return {"holds": False, "reason": " ".join(_turn(*pair, found) for pair, found in turned.items())}
    if twice:
        return {"holds": True, "reason": f"all {len(twice)} pairs that are decided at two sizes or more agree"}
    return {"holds": None, "reason": "no pair of mixtures is decided at two sizes"}


def _ordered(one: Mapping[str, Any]) -> tuple[tuple[str, str], str]:
    """Names in alphabetical order, for a pair may be turned round between sizes, and the result of the first."""
    first, second = one["candidate"], one["opponent"]
    return ((first, second), one["outcome"]) if first < second else ((second, first), FLIPPED[one["outcome"]])


def _turn(first: str, second: str, found: Sequence[tuple[str, str]]) -> str:
    words = {WIN: "beats", LOSS: "loses to"}
    return f"{first} " + ", ".join(f"{words[result]} {second} at {size}" for size, result in found) + "."
