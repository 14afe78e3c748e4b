"""The report of runs that have several searches, that have moved on since their verdict, or that have none yet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from doremi.report import write_report
from doremi.report.facts import read_facts
from doremi.report.forest import profile_figures
from doremi.report.made import time_table
from doremi.report.svg import drawing
from doremi.report.walks import walk_figures
from doremi.rundir.layout import RunDirectory
from doremi.verdict import write_verdict
from make_run import MadeRun, make_run
from report_run import NOT_DRAWN, Page, a_report, words
from verdicts import verdict_over

EFFECT = {"law": -0.03, "doremi": -0.01, "natural": 0.0}


@pytest.fixture(autouse=True)
def without_pictures(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    a_report(tmp_path_factory.getbasetemp())  # shared with other tests: before anything is patched
    monkeypatch.setattr("doremi.report.page.pictures", lambda facts: NOT_DRAWN)


@pytest.fixture
def copied(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    return Path(shutil.copytree(a_report(tmp_path_factory.getbasetemp()), tmp_path / "demo"))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Two methods: one with references and proxies, one that has neither."""
    made = MadeRun(seeds=(0, 1, 2), effect=EFFECT, found={"law": "fitted", "doremi": "doremi"})
    run = RunDirectory(make_run(tmp_path_factory.mktemp("states") / "several", made))
    edit(run.root / "mixtures/law.json", seeds=[0])
    write_verdict(run.root, verdict_over(run, list(EFFECT)))
    return run


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# -- several searches ------------------------------------------------------------------------------------------------


def test_each_found_mixture_has_its_columns_and_notes(several: RunDirectory) -> None:
    page = Page(write_report(several))
    row = page.table("mixture")["web"]
    assert [title for title in row if "law" in title or "doremi" in title] == [
        "law", "doremi", "Change, law / reference", "Change, doremi / reference",
        "Epochs of law at 100 k tokens", "Epochs of doremi at 100 k tokens",
    ]  # fmt: skip
    said = words(page.by_id("weights-section"))
    assert "The weights of law are the mean over 1 seed." in said
    assert "The weights of doremi are the mean over 3 seeds." in said
    assert "Mixture law done" in words(page.by_id("made"))
    assert words(page.by_id("answer")).startswith("The answer Use law. proved")
    assert page.table("models")["proxy of doremi"]["Seeds"] == "0, 1 and 2"


def test_a_search_without_proxies_has_no_walks(several: RunDirectory) -> None:
    facts = read_facts(several)
    with drawing():
        walks, profiles = walk_figures(facts), profile_figures(facts)
    assert [(one.key, one.title) for one in walks] == [
        ("weights", "How the weights moved for doremi"),
        ("scores", "Where the proxy lags behind the reference for doremi"),
    ]
    assert [one.title for one in profiles] == [
        f"Where {name} moves loss, against natural" for name in ("law", "doremi")
    ]


def test_stages_are_called_by_what_is_trained_there(several: RunDirectory) -> None:
    nodes = [(node.id, node.place) for node in several.nodes().nodes]
    law = next(one for one in nodes if one[1] == "main/tiny/law/seed-0")
    stages = ["prepare", law[0], str(law[1]), f"downstream/{law[1]}", "proxy/seed-1", "proxy/seed-1/losses", "own"]
    lines = [json.dumps({"stage": stage, "seconds": 1.0}) for stage in stages]
    (several.root / "timings.jsonl").write_text("\n".join(lines))
    table = time_table(read_facts(several))
    assert table is not None
    assert [(row[0].text, row[1].text) for row in table.rows] == [
        ("prepare", "1.0\N{NO-BREAK SPACE}s"), ("law at size tiny", "2.0\N{NO-BREAK SPACE}s"),
        ("downstream, law at size tiny", "1.0\N{NO-BREAK SPACE}s"), ("proxy of doremi", "1.0\N{NO-BREAK SPACE}s"),
        ("proxy of doremi, losses", "1.0\N{NO-BREAK SPACE}s"), ("own", "1.0\N{NO-BREAK SPACE}s"),
    ]  # fmt: skip


# -- states do not mix -----------------------------------------------------------------------------------------------


def test_no_result_stands_beside_weights_that_have_changed(copied: Path) -> None:
    weights = {"web": 0.5, "code": 0.25, "Wikipedia (en)": 0.25}
    edit(copied / "mixture.json", weights=weights)
    page = Page(write_report(RunDirectory(copied)))
    sentence = "The verdict is of other models. The weights of doremi have changed since. doremi run demo trains"
    assert page.table("mixture")["web"]["doremi"] == "50.00 %"
    assert sentence in words(page.by_id("answer"))
    assert sentence in words(page.by_id("verdict"))
    assert not page.by_id("verdict").all("table")
    told = "Other weights than those shown, or other settings, were used to train 2 models (doremi)."
    assert told in words(page.by_id("weights-section"))
    assert list(page.table("domains")["web"]) == ["natural", "uniform"]  # whose models are those of their weights
    assert "doremi, tiny" not in page.table("models")
    assert "Verdict missing" in words(page.by_id("answer"))


def test_no_result_stands_beside_trainings_to_come(copied: Path) -> None:
    """Another recipe: the mixtures are the same, the trainings are not."""
    nodes = json.loads((copied / "nodes.json").read_text())
    for node in nodes["nodes"]:
        if node["mixture"] == "uniform":
            node |= {"key": "0" * 64, "place": f"trainings/{node['seed']}"}
    edit(copied / "nodes.json", nodes=nodes["nodes"])
    page = Page(write_report(RunDirectory(copied)))
    assert "Those on uniform are to be trained anew." in words(page.by_id("answer"))
    assert list(page.table("domains")["web"]) == ["doremi", "natural"]
    assert "4 models finished, seeds 0 and 1, 2 unfinished" in words(page.by_id("answer"))


def test_a_folder_that_holds_another_training_is_not_shown(copied: Path) -> None:
    (copied / "verdict.json").unlink()
    edit(copied / "main/tiny/uniform/seed-1/stage.json", key="0" * 64)
    page = Page(write_report(RunDirectory(copied)))
    assert page.table("models")["uniform, tiny"]["Seeds"] == "0"
    assert "were used to train 1 model (uniform)" in words(page.by_id("weights-section"))


def test_where_nothing_is_planned_that_is_said(copied: Path) -> None:
    (copied / "nodes.json").unlink()
    page = Page(write_report(RunDirectory(copied)))
    assert "Nothing is planned here yet. doremi run demo plans and trains." in words(page.by_id("answer"))
    assert not page.by_id("verdict").all("table")
    assert not page.by_id("by-domain").all("table")
