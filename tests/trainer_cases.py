"""What tests of trainers' own code share: a run to export, checks of what was drawn, and stand-ins for packages.

A domain's share of the drawn tokens is the mixture's within four standard errors. A weight of 1e-6 is too small for
10^5 draws: it is read from what the trainer's code made of the written number.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from doremi.export import Options, export
from doremi.mixture.domains import folder_name
from doremi.rundir.layout import RunDirectory
from make_run import MadeRun, make_run
from read_exports import weights_file

NAMES = ("web", "gr\u00fcne B\u00fccher", "code", "tiny", "never")
KEPT = NAMES[:4]
WEIGHTS = np.array([0.5, 0.3, 0.199999, 1e-6])
LENGTHS = np.array([20, 2000, 200, 50])  # tokens of a document
DRAWS = 100_000


@dataclass(frozen=True)
class Case:
    """A run, the mixture to export, and a folder for data in the trainer's own form."""

    run: RunDirectory
    mixture: Path
    folder: Path

    def data(self, name: str) -> Path:
        return self.folder / folder_name(name)

    def export(self, target: str, *, mapped: bool, suffix: str = "", **options: Any) -> Path:
        """Export over paths of one's own in `folder`, of known lengths, or over the run's tokens."""
        out = self.folder / "out"
        if mapped:
            places = {
                name: {"path": f"{self.data(name)}{suffix}", "tokens": "1T", "tokens_per_document": int(length)}
                for name, length in zip(KEPT, LENGTHS, strict=True)
            }
            paths = self.folder / "paths.yaml"
            paths.write_text(yaml.safe_dump(places, allow_unicode=True), encoding="utf-8")
            options["paths"] = paths
        export(self.run, target, mixture=self.mixture, out=out, options=Options(**options))
        return out


def case_in(tmp_path: Path) -> Case:
    run = RunDirectory(make_run(tmp_path / "runs" / "demo", MadeRun(domains=NAMES, seeds=(0,))))
    weights = dict(zip(NAMES, [*WEIGHTS, 0.0], strict=True))
    folder = tmp_path / "data"
    folder.mkdir()
    return Case(run, weights_file(tmp_path / "mixture.json", weights), folder)


def check_tokens(drawn: Iterable[int]) -> None:
    """`drawn` is the domain of each draw, of a document of its domain's length."""
    domain = np.fromiter(drawn, dtype=np.int64)
    assert len(domain) == DRAWS
    tokens = np.zeros((len(domain), len(KEPT)))
    tokens[np.arange(len(domain)), domain] = LENGTHS[domain]
    share = tokens.sum(0) / tokens.sum()
    error = (tokens - share * tokens.sum(1, keepdims=True)).std(0) / tokens.sum(1).mean() / np.sqrt(len(domain))
    assert (np.abs(share - WEIGHTS)[:3] < 4 * error[:3]).all()


def check_blocks(count: np.ndarray) -> None:
    """`count`: random draws of blocks of one length, by domain."""
    error = np.sqrt(WEIGHTS * (1 - WEIGHTS) / count.sum())
    assert count.sum() >= DRAWS
    assert (np.abs(count / count.sum() - WEIGHTS) < 4 * error + 1 / count.sum()).all()


def check_tiny(documents: Iterable[float]) -> None:
    """Weights as the trainer holds them, of documents: as tokens, the tiny one is 1e-6 of them."""
    tokens = np.array(list(documents)) * LENGTHS
    assert tokens / tokens.sum() == pytest.approx(WEIGHTS, rel=1e-4, abs=1e-9)


def stand_in(monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    """Modules with these values, dots in their names as `__`: what a loader imports and never calls."""
    for name, values in modules.items():
        module = types.ModuleType(name.replace("__", "."))
        vars(module).update({"__spec__": ModuleSpec(module.__name__, None), "__path__": [], **values})
        monkeypatch.setitem(sys.modules, module.__name__, module)
