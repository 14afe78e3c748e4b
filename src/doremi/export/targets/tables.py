"""Plain CSV and YAML, and the forms of Olmix and RegMix, which fit a law to many mixtures."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from doremi.export.blend import Blend
from doremi.export.files import Files, readme, summary, yaml_bytes
from doremi.export.rounding import decimal_text
from doremi.export.target import Target, Weights
from doremi.export.targets.parsing import mapping, number, pairs, yaml_at

UNIT = "tokens"
LABELS = ("run", "run_id", "name", "index", "step", "")
"""Columns of a swarm that name a row, and are no domains."""
PREFIX = "train_"  # of RegMix's names of training data


def _csv(blend: Blend, folder: Path) -> Files:
    """`mixture.csv`: a line a domain."""
    rows = [(one.key, decimal_text(one.weight), one.domain.tokens, _epochs(one.domain.epochs)) for one in blend.entries]
    yield "mixture.csv", _table([("domain", "weight", "tokens", "epochs"), *rows])
    yield "README.txt", readme(blend, UNIT, ["One line a domain. An empty field is not known."])


def _epochs(epochs: Any) -> str:
    return "" if epochs is None else f"{float(epochs):.6g}"


def _yaml(blend: Blend, folder: Path) -> Files:
    """`mixture.yaml`: weights by name."""
    weights = blend.weights
    yield "mixture.yaml", yaml_bytes({"unit": "tokens", "weights": weights}, summary(blend, UNIT))
    yield "README.txt", readme(blend, UNIT, ["Weights by name."])


def _olmix(blend: Blend, folder: Path) -> Files:
    """`ratios.csv`: one row of a swarm, a column a domain."""
    names = [entry.key for entry in blend.entries]
    row = [decimal_text(entry.weight) for entry in blend.entries]
    yield "ratios.csv", _table([("run", "name", "index", *names), (blend.mixture, blend.mixture, 0, *row)])
    usage = ["A swarm of one row. Add the rows of your other runs, and their metrics in metrics.csv."]
    yield "README.txt", readme(blend, UNIT, usage)


def _regmix(blend: Blend, folder: Path) -> Files:
    """`mixture.yaml` in RegMix's form: weights by train_NAME."""
    weights = {f"{PREFIX}{entry.key}": entry.weight for entry in blend.entries}
    yield "mixture.yaml", yaml_bytes({"train": weights, "valid": {}, "model_name": blend.mixture}, summary(blend, UNIT))
    usage = ["RegMix names the training data of a domain train_NAME. Add your validation sets below valid."]
    yield "README.txt", readme(blend, UNIT, usage)


def _table(rows: list[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


# -- reading ---------------------------------------------------------------------------------------------------------


def read_csv(text: str) -> Weights:
    """A line a domain, with the columns domain and weight."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"domain", "weight"} <= set(rows[0]):
        raise ValueError("should have the columns domain and weight")
    return pairs([row["domain"] for row in rows], [row["weight"] for row in rows])


def read_swarm(text: str) -> dict[str, Weights]:
    """Mixtures by their rows' names: a column a domain, as Olmix and RegMix keep the mixtures of their runs."""
    rows = list(csv.DictReader(io.StringIO(text)))
    domains = [] if not rows else [name for name in rows[0] if name is not None and name.strip().lower() not in LABELS]
    if not domains:
        raise ValueError("should have a column for each domain and a row for each mixture")
    found: dict[str, Weights] = {}
    for number_, row in enumerate(rows):
        label = next((row[name] for name in LABELS if row.get(name)), str(number_))
        if label in found:
            raise ValueError(f"has two rows of {label!r}")
        found[label] = [(_bare(name), number(row[name] or "")) for name in domains]
    return found


def _bare(name: str) -> str:
    return name.removeprefix(PREFIX)


def _read_one(text: str) -> Weights:
    swarm = read_swarm(text)
    if len(swarm) > 1:
        raise ValueError(f"has {len(swarm)} mixtures")
    return next(iter(swarm.values()))


def _read_regmix(text: str) -> Weights:
    if text.lstrip("# \n").startswith("train:") or "\ntrain:" in text:
        return [(_bare(name), weight) for name, weight in mapping(yaml_at(text, "train"))]
    return _read_one(text)


def _read_yaml(text: str) -> Weights:
    value = yaml_at(text)
    return mapping(value["weights"] if isinstance(value, dict) and "weights" in value else value)


def _plain(name: str, family: str, description: str, main: str, **rest: Any) -> Target:
    return Target(
        name=name,
        family=family,
        description=description,
        unit=UNIT,
        main=main,
        key="name",
        data="names",
        groups=True,
        keeps_zeros=True,
        **rest,
    )


TARGETS = (
    _plain("csv", "plain", "a CSV table of weights and epochs", "mixture.csv", files=_csv, read=read_csv),
    _plain("yaml", "plain", "a YAML mapping of weights", "mixture.yaml", files=_yaml, read=_read_yaml),
    _plain("olmix", "mixers", "Olmix ratios.csv", "ratios.csv", files=_olmix, read=_read_one),
    _plain("regmix", "mixers", "RegMix mixture", "mixture.yaml", files=_regmix, read=_read_regmix),
)
