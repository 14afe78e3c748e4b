"""The report's further tables: sizes, equal total compute, few-shot tasks, and proxies that ended early."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from doremi.report import write_report
from doremi.report.figures import Figure
from doremi.runs import RunDirectory
from report_run import Page, a_report, words

ONE = {"candidate": "doremi", "opponent": "natural", "difference": -0.02, "relative": -0.0123}
SIZES = [
    {
        "size": name, "parameters": parameters, "tokens": 5120, "order": ["doremi", "natural"], "recommended": "doremi",
        "bits_per_byte": {"doremi": bits, "natural": bits + 0.02},
        "comparisons": [{**ONE, "interval": [-0.03, -0.01], "outcome": "win"}],
    }
    for name, parameters, bits in (("tiny", 19_900, 1.75), ("1m", 1_900_000, 1.25))
]  # fmt: skip
COMPUTE = {
    "candidates": [
        {"name": "doremi", "steps": 40, "tokens": 5120, "mean": {"uniform": 1.5, "natural": 1.6}},
        {"name": "natural+search", "steps": 134, "tokens": 17152, "mean": {"uniform": 1.4, "natural": 1.45}},
    ],
    "comparisons": [
        {**ONE, "opponent": "natural+search", "target": target, "relative": 0.0714, "interval": [0.05, 0.15],
         "outcome": "loss"} for target in ("uniform", "natural")
    ],
}  # fmt: skip
TASKS = {
    "shots": 1,
    "metrics": {
        "last_word_accuracy": {
            "higher_is_better": True, "tasks": ["lambada"],
            "values": {"doremi": {"mean": 0.31, "lambada": 0.31}, "natural": {"mean": 0.25, "lambada": 0.25}},
            "comparisons": [{**ONE, "task": "mean", "difference": 0.06, "interval": [0.01, 0.11], "outcome": "win"}],
        }
    },
}  # fmt: skip


@pytest.fixture
def copied(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    none = {key: Figure(key, key, "not drawn") for key in ("change", "epochs", "curves", "weights", "scores")}
    monkeypatch.setattr("doremi.report.page.figures", lambda facts: none)
    return Path(shutil.copytree(a_report(tmp_path_factory.getbasetemp()), tmp_path / "demo"))


def page_with(root: Path, file: str, more: Mapping[str, Any]) -> Page:
    held = json.loads((root / file).read_text())
    (root / file).write_text(json.dumps(held | more))
    return Page(write_report(RunDirectory(root)))


def rows(page: Page, table: str) -> list[list[str]]:
    return [[words(cell) for cell in row.all("th") + row.all("td")] for row in page.by_id(table).all("tr")][1:]


def test_sizes_stand_side_by_side_with_what_is_decided(copied: Path) -> None:
    held = {"sizes": SIZES, "ranking": {"holds": True, "reason": "all 1 pairs that are decided agree"}}
    page = page_with(copied, "verdict.json", held)
    doremi, natural = rows(page, "sizes")
    assert doremi[1:] == ["1.7500 (best) \u22121.23 % win", "1.2500 (best) \u22121.23 % win"]
    assert natural == ["natural", "1.7700", "1.2700"]
    assert "The ranking holds: all 1 pairs" in words(page.by_id("verdict"))


def test_equal_compute_shows_what_the_search_would_have_bought(copied: Path) -> None:
    page = page_with(copied, "verdict.json", {"equal_compute": COMPUTE})
    _, longer = rows(page, "equal-compute")
    assert longer[:2] == ["natural+search", "134"]
    assert longer[2].startswith("1.4000 (best)")
    assert "+7.14" in longer[2]
    assert "loss" in longer[2]


def test_few_shot_results_have_their_metrics_own_sign(copied: Path) -> None:
    page = page_with(copied, "verdict.json", {"downstream": TASKS})
    doremi, natural = rows(page, "fewshot-last_word_accuracy")
    assert doremi[1].startswith("0.3100 (best)")
    assert "+0.0600" in doremi[1]
    assert "win" in doremi[1]
    assert natural == ["natural", "0.2500", "0.2500"]
    assert "higher is better" in words(page.by_id("fewshot-last_word_accuracy"))


def test_a_proxy_that_ended_early_is_told_with_its_schedule(copied: Path) -> None:
    settled = {"0": {"settled": True, "reason": "", "change": 0.0, "steps": 25, "learning_rate": 0.417}}
    page = page_with(copied, "mixture.json", {"settled": settled, "options": {"steps": 40}})
    said = words(page.by_id("weights-section"))
    assert "seed 0 stopped at step 25 of 40" in said
    assert "42 % of the peak" in said


def test_none_of_it_is_there_where_nobody_asked(copied: Path) -> None:
    page = page_with(copied, "verdict.json", {})
    assert not {"As models grow", "At equal total compute", "Few-shot tasks"} & {
        words(title) for title in page.root.all("h3")
    }
