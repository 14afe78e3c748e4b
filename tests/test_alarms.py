"""An alarm from the training that makes it ring to the metrics, the display and the page."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from doremi.diagnostics.health import REPEATED
from doremi.distributed import World
from doremi.executors.choose import chosen
from doremi.files import write_json
from doremi.objectives.variants import Choices, official
from doremi.pipeline.run import everything
from doremi.pipeline.workspace import open_workspace
from doremi.report.alarms import alarm_table, alarm_words
from doremi.report.facts import read_facts
from doremi.report.page import render
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.training.log import _losses
from tiny import Silent, tiny_config, write_corpus

SCARCE = {"prose": 0.49, "code": 0.02, "digits": 0.49}  # of 8 sequences a step: code in one step of six
STEPS = 40


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, list[str]]:
    """A run whose proxy hardly meets one domain and whose other models learn a line by heart; and what it said."""
    root = tmp_path_factory.mktemp("sick")
    text = write_corpus(root / "text")
    (text / "other").mkdir()
    (text / "digits/text.jsonl").rename(text / "other/text.jsonl")
    (text / "digits/text.jsonl").write_text(json.dumps({"text": "0 1 2 3 4 5 6 7 8 9 " * 8}) + "\n")
    write_json(root / "scarce.json", SCARCE)
    write_json(root / "line.json", {"prose": 0.2, "code": 0.1, "digits": 0.7})
    config = tiny_config(
        root, text,
        data={"domains": {
            "prose": str(text / "prose"), "code": str(text / "code"),
            "digits": {"train": str(text / "digits"), "validation": str(text / "other")},
        }},
        training={"steps": STEPS, "learning_rate": 0.03, "evaluate_every": 10},
        reference={"mixture": "uniform"},
        proxy={"sampling": str(root / "scarce.json"), "variant": "easiest"},
        candidates={"mixtures": ["uniform", str(root / "line.json")]},
    )  # fmt: skip
    watch = Silent()
    with open_workspace(config, World(0, 1, torch.device("cpu")), watch) as space:
        everything(space, chosen)
    return RunDirectory(config.root), watch.messages


def alarms(folder: TrainingFolder) -> dict[str, dict[str, Any]]:
    return {record["name"]: record for record in folder.records("alarm")}


def test_a_scarce_domain_and_an_average_that_moves(sick: tuple[RunDirectory, list[str]]) -> None:
    run, said = sick
    rung = alarms(run.proxy(0))
    assert {"absent", "not_settled"} <= set(rung)
    assert "noisy_scores" not in rung
    assert rung["absent"]["domains"] == ["code"]
    absent = (run.proxy(0).trace()["tokens"][:30, 1] == 0).mean()
    assert f"code {absent:.3f}" in rung["absent"]["reason"]
    assert absent > 0.8
    assert f"only {STEPS} steps" in rung["not_settled"]["reason"]
    assert rung["absent"]["step"] == 30  # the first evaluation with enough steps
    assert rung["not_settled"]["step"] == STEPS  # the last one
    for name, record in rung.items():
        line = f"alarm in doremi/proxy/seed-0, {name.replace('_', ' ')}: {record['reason']}. {record['advice']}"
        assert said.count(line) == 1


def test_a_memorised_domain_is_told_of_reference_and_candidate(sick: tuple[RunDirectory, list[str]]) -> None:
    """One line, read again and again, and held-out text that is another."""
    run, said = sick
    for folder in (run.reference(0), run.main("custom", "line", 0)):
        (record,) = alarms(folder).values()
        assert (record["name"], record["domains"], record["advice"]) == ("overfit", ["digits"], REPEATED)
        assert sum(record["reason"] in line and REPEATED in line for line in said) == 1
    assert run.main("custom", "uniform", 0).folder == run.reference(0).folder


def test_losses_at_evaluations_are_means_since_the_one_before(sick: tuple[RunDirectory, list[str]]) -> None:
    folder = sick[0].reference(0)
    trace, stage = folder.trace(), folder.stage()
    train_EK, validation_EK, epochs_EK = _losses(folder, trace, np.array(stage["epoch_tokens"]))
    assert len(train_EK) == STEPS // 10
    rows = slice(10, 20)
    mean_K = (trace["loss"] * trace["tokens"])[rows].sum(axis=0) / trace["tokens"][rows].sum(axis=0)
    assert train_EK[1] == pytest.approx(mean_K, rel=1e-6)
    assert validation_EK[-1].tolist() == folder.evaluation()["select"]["loss"]
    assert (epochs_EK[-1] * stage["epoch_tokens"]).tolist() == pytest.approx(stage["consumed_tokens"])


def test_the_page_shows_all_that_rang(sick: tuple[RunDirectory, list[str]]) -> None:
    run, _ = sick
    facts = read_facts(run)
    table = alarm_table(facts)
    assert table is not None
    rung = [(name.replace("_", " "), "proxy, seed 0") for name in alarms(run.proxy(0))]
    expected = [("overfit", "reference, seed 0"), *rung, ("overfit", "line at size custom, seed 0")]
    assert [(row[0].text, row[1].text) for row in table.rows] == expected
    assert [row[3].text for row in table.rows if row[0].text == "overfit"] == [REPEATED, REPEATED]
    state, words = alarm_words(facts)
    assert (state, words) == ("partly", f"{len(expected)} alarms raised. See the table under How it was made.")
    page = render(run)
    assert words in page
    assert REPEATED in page


def test_noise_is_measured_only_where_it_is_that_of_the_scores(sick: tuple[RunDirectory, list[str]]) -> None:
    """The easiest-domains variant scores minus the reference's loss: the spread of a clipped excess says nothing."""
    trace = sick[0].proxy(0).trace()
    assert np.isnan(trace["score_error"]).all()
    assert (trace["scores"] < 0).all()
    assert official(2, vocab_size=300).scores_clipped_excess
    for choices in (Choices(clip="domain"), Choices(clip="none"), Choices(excess="proxy")):
        assert not choices.scores_clipped_excess
