"""Who is who in a verdict: by role, whatever the names; and no result beside weights that no model was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doremi.errors import DamageError, RunError
from doremi.rundir.layout import RunDirectory
from doremi.verdict import Candidate, equal_compute, outdated, read_verdict, write_verdict
from make_run import MadeRun, make_run
from verdicts import candidates, verdict_over

EFFECT = {"law": -0.03, "swarm": -0.01, "natural": 0.0, "uniform": 0.01}
FOUND = {"swarm": "swarm", "law": "fitted"}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(make_run(tmp_path / "run", MadeRun(seeds=(0, 1, 2), effect=EFFECT, found=FOUND)))


def test_several_found_mixtures_are_compared_as_such(run: RunDirectory) -> None:
    verdict = verdict_over(run, list(EFFECT))
    families = {(one.candidate, one.opponent): one.family for one in verdict.comparisons}
    assert families == {
        ("law", "natural"): "learned", ("law", "uniform"): "learned", ("swarm", "natural"): "learned",
        ("swarm", "uniform"): "learned", ("swarm", "law"): "learned", ("uniform", "natural"): "plain",
    }  # fmt: skip
    chosen = verdict.recommendation
    assert (chosen.mixture, chosen.outcome) == ("law", "win")
    assert chosen.reason.startswith("law beats natural, the best plain mixture")


def test_a_name_is_no_role(run: RunDirectory) -> None:
    """The same models under the names that another method has."""
    law, _, natural, uniform = candidates(run, list(EFFECT))
    named = [
        Candidate("uniform", "found", law.trainings, law.records),
        Candidate("doremi", "plain", uniform.trainings, uniform.records),
        natural,
    ]
    verdict = verdict_over(run, [], candidates=named)
    assert verdict.recommendation.mixture == "uniform"
    assert {one.family for one in verdict.comparisons if "uniform" not in (one.candidate, one.opponent)} == {"plain"}


def test_at_equal_compute_each_stands_against_those_of_its_own_search(run: RunDirectory) -> None:
    law, swarm, natural, uniform = candidates(run, list(EFFECT))
    longer = [
        Candidate("natural", "plain", natural.trainings, method="swarm"),
        Candidate("natural", "plain", uniform.trainings, method="fitted"),
    ]
    compared = equal_compute(
        run, size="tiny", seeds=[0, 1, 2], candidates=[law, swarm, natural, uniform], longer=longer,
        confidence=0.95, margin=0.005,
    )  # fmt: skip
    means = {(one.name, one.search, one.longer): one.mean["uniform"] for one in compared.candidates}
    assert list(means) == [
        ("law", "fitted", False), ("swarm", "swarm", False), ("natural", "swarm", True), ("natural", "fitted", True),
    ]  # fmt: skip
    for one, opponent in compared.pairs():
        if one.target == "uniform":
            assert opponent.search == FOUND[one.candidate]
            own = means[one.candidate, opponent.search, False]
            assert one.difference == pytest.approx(own - opponent.mean["uniform"], rel=1e-6)


def test_the_keys_of_what_was_judged_are_recorded(run: RunDirectory) -> None:
    write_verdict(run.root, verdict_over(run, list(EFFECT)))
    for one in read_verdict(run.root).candidates:
        nodes = run.nodes().find("main", mixture=one.name)
        assert one.trainings == {node.seed: node.key for node in nodes}


def test_a_mixture_that_has_changed_is_not_judged_by_old_models(run: RunDirectory) -> None:
    path = run.root / "mixtures/swarm.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "weights": {**held["weights"], "web": 0.25}}))
    with pytest.raises(RunError, match=r"mixture 'swarm' has changed since its model of seed 0 .* doremi run .*run$"):
        verdict_over(run, list(EFFECT))
    verdict_over(run, ["law", "natural", "uniform"])


def test_a_place_outside_the_run_is_refused(run: RunDirectory) -> None:
    path = run.root / "nodes.json"
    for place in ("../elsewhere", "/etc"):
        text = path.read_text()
        path.write_text(text.replace("main/tiny/law/seed-0", place))
        with pytest.raises(DamageError, match="is outside the run; remove it and run again"):
            candidates(run, ["law"])
        path.write_text(text)


def test_a_damaged_verdict_is_named(run: RunDirectory) -> None:
    write_verdict(run.root, verdict_over(run, list(EFFECT)))
    path = run.root / "verdict.json"
    path.write_text(path.read_text().replace('"seeds_to_decide": null', '"seeds_to_decide": "many"'))
    with pytest.raises(DamageError, match=r"verdict\.json: .* damaged at recommendation\.seeds_to_decide .* run again"):
        read_verdict(run.root)


def test_a_verdict_of_other_models_is_told(run: RunDirectory) -> None:
    verdict, nodes = verdict_over(run, list(EFFECT)), run.nodes()
    assert outdated(run, nodes, verdict) is None
    fewer = nodes.model_copy(update={"candidates": nodes.candidates[1:], "nodes": nodes.find("main", seed=0)})
    assert outdated(run, fewer, verdict) is None
    anew = [n.model_copy(update={"key": None if n.mixture in ("law", "natural") else n.key}) for n in nodes.nodes]
    words = outdated(run, nodes.model_copy(update={"nodes": tuple(anew)}), verdict)
    assert words == "The verdict is of other models. Those on law and natural are to be trained anew."
    path = run.root / "mixtures/swarm.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "weights": {**held["weights"], "web": 0.25}}))
    words = outdated(run, nodes, verdict)
    assert words == "The verdict is of other models. The weights of swarm have changed since."
