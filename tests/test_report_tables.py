"""The report's further tables: sizes, equal total compute, few-shot tasks, and proxies that ended early."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from doremi.report import write_report
from doremi.report.facts import read_facts
from doremi.report.svg import drawing
from doremi.report.walks import walk_figures
from doremi.report.words import ABSENT
from doremi.rundir.layout import RunDirectory
from doremi.rundir.nodes import write_nodes
from report_run import NOT_DRAWN, Page, a_report, words

ONE = {"candidate": "doremi", "opponent": "natural", "difference": -0.02, "relative": -0.0123}
SIZES = [
    {
        "size": name, "parameters": parameters, "tokens": 5120, "order": ["doremi", "natural"], "recommended": "doremi",
        "trainings": {},
        "bits_per_byte": {"doremi": bits, "natural": bits + 0.02},
        "comparisons": [{**ONE, "interval": [-0.03, -0.01], "outcome": "win"}],
    }
    for name, parameters, bits in (("tiny", 19_900, 1.75), ("1m", 1_900_000, 1.25))
]  # fmt: skip
COMPUTE = {
    "candidates": [
        {"name": "doremi", "search": "doremi", "longer": False, "trainings": {}, "steps": 40, "tokens": 5120,
         "mean": {"uniform": 1.5, "natural": 1.6}},
        {"name": "natural", "search": "doremi", "longer": True, "trainings": {}, "steps": 134, "tokens": 17152,
         "mean": {"uniform": 1.4, "natural": 1.45}},
    ],
    "comparisons": [
        {**ONE, "family": "compute", "target": target, "relative": 0.0714, "interval": [0.05, 0.15], "outcome": "loss",
         "fixed": [0.06, 0.14], "small": False} for target in ("uniform", "natural")
    ],
}  # fmt: skip
TASKS = {
    "shots": 1,
    "examples": {"lambada": 100},
    "metrics": {
        "last_word_accuracy": {
            "higher_is_better": True, "tasks": ["lambada"],
            "values": {"doremi": {"mean": 0.31, "lambada": 0.31}, "natural": {"mean": 0.25, "lambada": 0.25}},
            "comparisons": [
                {"candidate": "doremi", "opponent": "natural", "family": "primary", "task": "mean", "difference": 0.06,
                 "interval": [0.01, 0.11], "outcome": "win"}
            ],
        }
    },
}  # fmt: skip


@pytest.fixture
def copied(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = a_report(tmp_path_factory.getbasetemp())  # shared with other tests: before anything is patched
    monkeypatch.setattr("doremi.report.page.pictures", lambda facts: NOT_DRAWN)
    return Path(shutil.copytree(made, tmp_path / "demo"))


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
    assert longer[:2] == ["natural trained longer", "134"]
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


def plan_rounds(root: Path, most: int) -> None:
    """nodes.json of a run whose search has several rounds."""
    nodes = RunDirectory(root).nodes()
    searched = [node for node in nodes.nodes if node.role in ("reference", "proxy", "mixture")]
    made = [node for node in nodes.nodes if node.role == "main"]
    for number in range(1, most + 1):
        for node in searched:
            changes = {"round": number, "place": f"rounds/{number}/{node.place}"}
            made.append(node.model_copy(update=changes))
    moved = [n.model_copy(update={"place": str(n.place).replace("reference/", "rounds/1/reference/")})
             if n.mixture == "natural" else n for n in made]  # fmt: skip
    write_nodes(root, nodes.model_copy(update={"nodes": tuple(moved)}))


@pytest.fixture
def iterated(copied: Path) -> Path:
    """The run as one of two rounds: its search is the first, a copy of it the second, in which an alarm rang too."""
    record = json.loads((copied / "mixture.json").read_text())
    sure = {"interval": {name: [0.1, 0.4] for name in record["weights"]}, "confidence": 0.95}
    rounds = [{"round": n, "weights": record["weights"], "largest_change": 0.2 / n, "domain": "web", "stopped": None}
              for n in (1, 2)]  # fmt: skip
    for n in (1, 2):
        place = copied / "rounds" / str(n)
        shutil.copytree(copied / "reference", place / "reference")
        shutil.copytree(copied / "proxy", place / "proxy")
        (place / "mixture.json").write_text(json.dumps(record | {"uncertainty": sure}))
        alarm = {"kind": "alarm", "step": 10 * n, "name": "absent", "domains": ["web"], "reason": "r", "advice": "a"}
        with (place / "proxy/seed-0/metrics.jsonl").open("a") as file:
            file.write(json.dumps(alarm) + "\n")
    shutil.rmtree(copied / "proxy")
    shutil.rmtree(copied / "reference")
    for link in copied.glob("main/*/natural/*/same-as.json"):
        held = json.loads(link.read_text())
        link.write_text(json.dumps(held | {"folder": f"rounds/1/{held['folder']}"}))
    (copied / "mixture.json").write_text(json.dumps(record | {"rounds": rounds}))
    plan_rounds(copied, 2)
    lines = [
        {"stage": f"rounds/{n}/proxy/seed-0", "seconds": 60.0 * n, "tokens": 5120, "peak_memory": 3e9} for n in (1, 2)
    ]
    lines[1]["mfu"] = 0.412
    (copied / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return copied


def test_all_rounds_are_told(iterated: Path) -> None:
    page = Page(write_report(RunDirectory(iterated)))
    assert [(row[0], row[1]) for row in rows(page, "alarms")] == [
        ("absent", "round 1, proxy, seed 0 step 10"), ("absent", "round 2, proxy, seed 0 step 20"),
    ]  # fmt: skip
    assert [row[0] for row in rows(page, "models")] == [
        "round 1, reference on natural", "round 1, proxy", "round 2, reference on round 1", "round 2, proxy",
        "doremi, tiny", "natural, tiny the reference models", "uniform, tiny",
    ]  # fmt: skip
    assert rows(page, "times") == [
        ["round 1, proxy", "1.0 min", "5,120", "85", ABSENT, "3.0 GB"],
        ["round 2, proxy", "2.0 min", "5,120", "43", "41.2%", "3.0 GB"],
    ]
    assert "4 models finished in 2 rounds, seeds 0 and 1" in words(page.by_id("made"))


def test_each_round_has_its_intervals_and_its_epochs_at_the_budget(iterated: Path) -> None:
    record = json.loads((iterated / "mixture.json").read_text())
    web = record["weights"]["web"]
    cell = f"{100 * web:.2f} % 10.00 % to 40.00 %"
    repeated = f"{record['domains']['web']['epochs']:.2f} epochs"
    page = Page(write_report(RunDirectory(iterated)))
    assert page.table("rounds")["web"] == dict.fromkeys(("After round 1", "After round 2"), f"{cell}; {repeated}")
    assert "interval over seeds, and epochs at 100 k tokens" in words(page.by_id("rounds"))
    config = (iterated / "config.yaml").read_text()
    (iterated / "config.yaml").write_text(config.replace("budget_tokens: 100000", "budget_tokens: null"))
    assert Page(write_report(RunDirectory(iterated))).table("rounds")["web"]["After round 1"] == cell


def test_each_round_has_its_path(iterated: Path) -> None:
    folder = iterated / "rounds/1/reference/seed-0"
    stage = json.loads((folder / "stage.json").read_text())
    (folder / "stage.json").write_text(json.dumps(stage | {"mixture": {"web": 0.9, "code": 0.1}}))
    facts = read_facts(RunDirectory(iterated))
    with drawing():
        made = walk_figures(facts)
    assert [(f.key, f.title) for f in made] == [
        ("weights", "How the weights moved in round 2"),
        ("scores", "Where the proxy lags behind the reference"),
        ("weights-round-1", "How the weights moved in round 1"),
    ]
    assert [f.legend[-1][2] for f in made if f.legend] == [
        "share in the reference mixture (round 1)", "share in the reference mixture (natural)",
    ]  # fmt: skip
    assert (facts.reference_weights(None, 1) or [])[:2] == [0.9, 0.1]
    assert (facts.reference_weights() or [])[0] == stage["mixture"]["web"]


def test_a_search_that_goes_on_shows_the_rounds_so_far(iterated: Path) -> None:
    (iterated / "mixture.json").unlink()
    shutil.rmtree(iterated / "rounds/2/proxy/seed-0")
    (iterated / "rounds/2/mixture.json").unlink()
    page = Page(write_report(RunDirectory(iterated)))
    assert list(page.table("rounds")["web"]) == ["After round 1"]
    assert "1 round so far" in words(page.by_id("rounds"))
    assert [row[1] for row in rows(page, "alarms")] == ["round 1, proxy, seed 0 step 10"]


def test_none_of_it_is_there_where_nobody_asked(copied: Path) -> None:
    page = page_with(copied, "verdict.json", {})
    assert not {"As models grow", "At equal total compute", "Few-shot tasks"} & {
        words(title) for title in page.root.all("h3")
    }
