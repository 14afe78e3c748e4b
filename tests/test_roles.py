"""Who is who in a verdict: by role, whatever the names; and no result beside weights that no model was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from doremi.errors import DamageError, RunError
from doremi.rundir.layout import RunDirectory
from doremi.statistics.setting import Terms
from doremi.verdict import Candidate, equal_compute, outdated, read_verdict, write_verdict
from make_run import MadeRun, make_run
from verdicts import candidates, verdict_over

EFFECT = {"law": -0.03, "swarm": -0.01, "natural": 0.0, "uniform": 0.01}
FOUND = {"swarm": "swarm", "law": "fitted"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("roles") / "run", MadeRun(seeds=(0, 1, 2), effect=EFFECT, found=FOUND))
    write_verdict(run, verdict_over(RunDirectory(run), list(EFFECT)))
    return RunDirectory(run)


@pytest.fixture
def run(made: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(made.root, tmp_path / "run")))


def test_several_found_mixtures_are_compared_as_such(made: RunDirectory) -> None:
    verdict = read_verdict(made.root)
    families = {(c.candidate, c.opponent): c.family for c in verdict.comparisons if c.target == "uniform"}
    assert families == {
        ("law", "natural"): "primary", ("law", "uniform"): "primary", ("swarm", "natural"): "primary",
        ("swarm", "uniform"): "primary", ("swarm", "law"): "method", ("uniform", "natural"): "plain",
    }  # fmt: skip
    chosen = verdict.recommendation
    assert (chosen.mixture, chosen.proved) == ("law", True)
    assert chosen.reason.startswith("law is proved better than natural and than every plain mixture.")
    assert {one.level for one in verdict.claims if one.candidate == "swarm"} == {0.05}  # what law had, passed on


def test_a_name_is_no_role(made: RunDirectory) -> None:
    """The same models under the names that another method has."""
    law, _, natural, uniform = candidates(made, list(EFFECT))
    named = [
        Candidate("uniform", "found", law.trainings, law.records),
        Candidate("doremi", "plain", uniform.trainings, uniform.records),
        natural,
    ]
    verdict = verdict_over(made, [], candidates=named)
    assert verdict.recommendation.mixture == "uniform"
    compared = [c for c in verdict.comparisons if c.target == "uniform" and "uniform" not in (c.candidate, c.opponent)]
    assert {one.family for one in compared} == {"plain"}


def test_at_equal_compute_each_stands_against_those_of_its_own_search(made: RunDirectory) -> None:
    law, swarm, natural, uniform = candidates(made, list(EFFECT))
    longer = [
        Candidate("natural", "plain", natural.trainings, method="swarm"),
        Candidate("natural", "plain", uniform.trainings, method="fitted"),
    ]
    compared = equal_compute(
        made, size="tiny", seeds=[0, 1, 2], candidates=[law, swarm, natural, uniform], longer=longer,
        terms=Terms(),
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


def test_the_keys_of_what_was_judged_are_recorded(made: RunDirectory) -> None:
    for one in read_verdict(made.root).candidates:
        nodes = made.nodes().find("main", mixture=one.name)
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
    path = run.root / "verdict.json"
    path.write_text(path.read_text().replace('"proved": true', '"proved": "surely"'))
    with pytest.raises(DamageError, match=r"verdict\.json: .* damaged at recommendation\.proved .* run again"):
        read_verdict(run.root)


def test_a_verdict_of_other_models_is_told(run: RunDirectory) -> None:
    verdict, nodes = read_verdict(run.root), run.nodes()
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
