"""Races: what may race, heats as far as they are known, who stays, fresh seeds for the final, a whole run."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.cli.jobs import state_of
from doremi.config import RunConfig, load
from doremi.corpus.pool import documents_on, first
from doremi.errors import ConfigError, RunError
from doremi.executors.parts import next_part
from doremi.mixture.files import read_mixture
from doremi.pipeline.checks import check_mixtures
from doremi.pipeline.judging import judge_run
from doremi.rundir.graph import Final, Graph
from doremi.rundir.known import Known
from doremi.rundir.layout import RunDirectory
from doremi.rundir.node import Node
from doremi.rundir.specs import PartSpec
from doremi.statistics.race import fresh_seeds, next_heat
from graphs import DOMAINS, config, finish, known, made
from test_states import results
from tiny import write_corpus, write_tiny
from tolerances import FLOAT64

SIX = ("doremi", "natural", "uniform", "temperature", "code", "law")
FOUND = {"web": 0.2, "code": 0.5, "law": 0.3}


# -- what may race -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidates", "more", "message"),
    [
        ({}, {"verdict": {"looks": "planned"}}, r"candidates\.race and verdict\.looks: planned exclude each other"),
        ({"equal_compute": True}, {}, r"candidates\.race and candidates\.equal_compute exclude each other"),
        ({"mixtures": ["doremi", "natural", "uniform"]}, {}, "needs more than 3 mixtures, as so many stay in any case"),
        ({"seeds": 2}, {}, r"needs candidates\.seeds of 3 at least"),
    ],
)
def test_a_race_that_cannot_be_is_refused_as_it_is_loaded(
    candidates: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(candidates={"mixtures": list(SIX[:4]), "seeds": 3, "race": True, **candidates}, **more)


def test_a_method_with_a_mixture_for_each_seed_does_not_race() -> None:
    asked = config(
        proxy={"seeds": 9}, candidates={"mixtures": ["doremi-per-seed", *SIX[1:4]], "seeds": 3, "race": True}
    )
    with pytest.raises(ConfigError, match=r"doremi-per-seed cannot take part in candidates\.race"):
        check_mixtures(asked)


@pytest.mark.parametrize("different", range(2, 60))
def test_three_seeds_leave_two_fresh_ones_for_the_final(different: int) -> None:
    """Whatever the number of candidates, also where names share trainings."""
    names, losses, spent = [str(i) for i in range(different)], list[dict[str, float]](), 0
    while (heat := next_heat(losses, names, "0", 0)) is not None:
        losses.append(dict.fromkeys(names, 1.0))
        spent += len(heat.candidates)
    left = min(3, different)
    assert len(fresh_seeds(0, len(losses), left, 3 * different - spent)) >= 2
    if not losses:  # a heat of names that turned out to be the same
        assert len(fresh_seeds(0, 1, left, 3 * different - different)) >= 2


# -- the graph ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path) -> RunConfig:
    """Six candidates: two of them are files."""
    for domain in ("code", "law"):
        rest = (1 - 0.8) / 2
        weights = {name: 0.8 if name == domain else rest for name in DOMAINS}
        (tmp_path / f"{domain}.json").write_text(json.dumps({"format": 1, "unit": "tokens", "weights": weights}))
    files = [str(tmp_path / f"{domain}.json") for domain in ("code", "law")]
    return config(candidates={"mixtures": [*SIX[:4], *files], "seeds": 3, "race": True})


Loss = Callable[[Node], float]


def first_known(asked: RunConfig) -> Known:
    files = {name: read_mixture(Path(name)) for name in asked.candidates.mixtures if name.endswith(".json")}
    return known(asked, files=files)


def trained(plan: Graph, loss: Loss, weights: dict[str, float], *nodes: Node) -> Known:
    """What is known once the nodes are done; a main model has the given loss in each domain."""
    so_far = finish(plan, *nodes, weights=weights)
    bits = {n.spec.key: (loss(n),) * len(DOMAINS) for n in nodes if n.spec is not None and n.kind == "training"}
    return replace(so_far, bits={**plan.known.bits, **{k: v for k, v in bits.items() if k not in plan.known.bits}})


def raced(asked: RunConfig, loss: Loss, weights: dict[str, float] = FOUND) -> list[Graph]:
    """Graphs of a run whose nodes are done as they become ready, all that are ready at once."""
    plans = [made(asked, first_known(asked))]
    kinds = ("training", "mixture", "validation")
    while ready := [n for n in plans[-1].nodes if plans[-1].ready(n) and n.kind in kinds]:
        plans.append(made(asked, trained(plans[-1], loss, weights, *ready)))
    return plans


def heats(plan: Graph) -> list[list[tuple[str, int]]]:
    """Of each heat, then of the final: candidates and seeds."""
    mains = [node for node in plan.nodes if node.role == "main"]
    numbers = dict.fromkeys(node.round for node in mains)
    return [[(node.mixture, node.seed) for node in mains if node.round == number] for number in numbers]


def by_name(node: Node) -> float:
    """The reference mixture is the worst of all; with the second seed the first heat's best is the worst."""
    order = {"natural": 9.0, "doremi": 3.0, "uniform": 1.0, "temperature": 2.0, "code": 4.0, "law": 5.0}
    return order.get(node.mixture, 9.0) + (9.0 if (node.mixture, node.seed) == ("uniform", 1) else 0.0)


def test_the_worse_half_drops_out_and_the_rest_is_spent_on_fewer(asked: RunConfig) -> None:
    """Six candidates with three seeds are 18 trainings: 6 and 4 in the heats, and 2 x 3 of what is left."""
    plan = raced(asked, by_name)[-1]
    assert heats(plan) == [
        [(name, 0) for name in SIX],
        [(name, 1) for name in ("doremi", "natural", "uniform", "temperature")],
        [(name, seed) for seed in (2, 3) for name in ("doremi", "natural", "temperature")],
    ]
    assert plan.finals == {"0.1m": Final(("doremi", "natural", "temperature"), (2, 3))}
    (race,) = plan.races
    assert [heat.dropped for heat in race.heats] == [("code", "law"), ("uniform",)]
    assert race.heats[1].means == {"doremi": 3.0, "natural": 9.0, "uniform": 5.5, "temperature": 2.0}
    assert race.words() == (
        "code dropped out in heat 1 of the race. On the uniform average it had 4.0000 bits per byte with seed 0. "
        "The best had 1.0000.",
        "law dropped out in heat 1 of the race. On the uniform average it had 5.0000 bits per byte with seed 0. "
        "The best had 1.0000.",
        "uniform dropped out in heat 2 of the race. On the uniform average it had 5.5000 bits per byte with seeds 0 "
        "and 1. The best had 2.0000.",
        "The final is among doremi, natural and temperature, with seeds 2 and 3, which no heat has seen.",
    )
    assert all(plan.done(node) for node in plan.nodes if node.kind != "verdict")
    assert plan.ready(plan.node("verdict"))


def test_a_heat_is_known_once_the_one_before_is_trained(asked: RunConfig) -> None:
    plans = raced(asked, by_name)
    first = plans[0]
    assert heats(first) == [[(name, 0) for name in SIX]]
    assert first.finals == {"0.1m": None}
    verdict = first.node("verdict")
    assert not any(plan.ready(plan.node("verdict")) for plan in plans[:-1])
    assert verdict.waits == "waits for the next heat"
    assert "verdict" not in [job for group in next_part(first) for job in group.jobs]
    assert [len(heats(plan)) for plan in plans] == sorted(len(heats(plan)) for plan in plans)
    before_final = next(plan for plan in plans if len(heats(plan)) == 2)
    assert before_final.races[0].words()[-1] == (
        "The race is in heat 2, among doremi, natural, uniform and temperature."
    )
    assert state_of(before_final, before_final.node("verdict")).startswith("waits for 0.1m/doremi/seed-1")


def test_a_run_is_not_judged_before_all_of_its_races_are_over(asked: RunConfig) -> None:
    """A verdict of one size is none of the run while the other size still races."""
    plan = raced(asked, by_name)[-1]
    judged = frozenset(node.spec.key for node in plan.nodes if node.role == "main" and node.round == 0 and node.spec)
    assert made(asked, replace(plan.known, judged=judged)).done(plan.node("verdict"))
    heat = {node.spec.key for node in plan.nodes if node.role == "main" and node.round == 1 and node.spec}
    assert not heat & judged
    two = asked.model_copy(update={"candidates": asked.candidates.model_copy(update={"sizes": ["0.1m", "0.3m"]})})
    more = made(two, replace(known(two, files=plan.known.files), trained=plan.known.trained, found=plan.known.found,
                             bits=plan.known.bits, judged=judged))  # fmt: skip
    assert [more.finals["0.1m"] is None, more.finals["0.3m"] is None] == [False, True]
    assert not more.done(more.node("verdict"))


def test_the_final_says_how_many_documents_count(asked: RunConfig) -> None:
    """The first two seeds of its first two finalists, and only what is compared is evaluated on more."""
    plans = raced(asked, by_name)
    assert next(len(heats(plan)) for plan in plans if "0.1m/validation" in plan.by_id) == 3
    done, judge = plans[-1], plans[-1].node("0.1m/validation")
    four = tuple(f"0.1m/{name}/seed-{seed}" for name in ("doremi", "natural") for seed in (2, 3))
    assert judge.needs == four
    assert isinstance(judge.spec, PartSpec)
    assert judge.spec.trainings == tuple(done.key(done.node(name)) for name in four)
    more = made(asked, replace(done.known, parts={judge.spec.key: (20, 30, 40)}))
    final = [node.id for node in done.nodes if node.is_final]
    assert len(final) == 6
    again = [node.id for node in more.nodes if node.kind == "evaluation"]
    assert again == [f"evaluation/{name}" for name in final]
    assert {*again, judge.id} <= set(more.node("verdict").needs)


@pytest.mark.parametrize(
    ("target", "stay"),
    [("uniform", {"doremi", "uniform", "temperature"}), ("natural", {"doremi", "temperature", "law"})],
)
def test_the_average_that_decides_decides_the_race(asked: RunConfig, target: str, stay: set[str]) -> None:
    """In the order web, code, law: web is six tenths of the text, and a third of the uniform average."""
    bits = {"doremi": (1.0, 1.0, 4.0), "uniform": (2.0, 1.0, 1.0), "temperature": (1.0, 2.0, 2.0),
            "code": (3.0, 3.0, 3.0), "law": (1.0, 1.0, 6.0), "natural": (9.0, 9.0, 9.0)}  # fmt: skip
    done = raced(asked, by_name)[-1]
    heat = [node for node in done.nodes if node.role == "main" and node.round == 1 and node.spec is not None]
    so_far = replace(done.known, bits={node.spec.key: bits[node.mixture] for node in heat if node.spec})
    chosen = asked.model_copy(update={"verdict": asked.verdict.model_copy(update={"target": target})})
    (race,) = made(chosen, so_far).races
    assert set(race.heats[1].candidates) == {*stay, "natural"}
    if target == "uniform":
        assert race.heats[0].means["temperature"] == pytest.approx(5 / 3, rel=1e-9)


def test_names_of_one_mixture_race_as_one_and_stay_together(asked: RunConfig) -> None:
    """The found mixture is uniform here: five different ones race, and what a pair saves goes into the final."""
    even = dict.fromkeys(DOMAINS, 1 / 3)
    plan = raced(asked, by_name, even)[-1]
    assert plan.finals["0.1m"] == Final(("doremi", "natural", "uniform", "temperature"), (1, 2, 3))
    assert [node.round for node in plan.nodes if node.role == "main" and node.seed == 1] == [0] * 4


def test_a_plan_counts_the_whole_race_before_it_has_begun(asked: RunConfig) -> None:
    """Who stays is not known, but what it costs is; the final comes after the heats."""
    plan = made(asked, replace(first_known(asked), assumed=True))
    assert [len(heat) for heat in heats(plan)] == [6, 4, 6]
    assert "0.1m/natural/seed-1" in plan.node("0.1m/natural/seed-2").needs
    done = raced(asked, by_name)[-1]
    count = [len([n for n in one.work() if n.role in ("main", "reference")]) for one in (plan, done)]
    assert count[0] == count[1]


# -- a whole run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("race")
    text = write_corpus(root / "text")
    candidates = {"mixtures": ["doremi", "natural", "uniform", "temperature"], "seeds": 3, "race": True}
    training = {"steps": 4, "evaluate_every": 2, "log_every": 2}
    return write_tiny(root / "tiny.yaml", text, root / "runs", candidates=candidates, training=training)


@pytest.fixture(scope="module")
def printed(config_file: Path) -> str:
    done = CliRunner().invoke(app, ["run", str(config_file)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def run(config_file: Path, printed: str) -> RunDirectory:
    return RunDirectory(config_file.parent / "runs/tiny")


def verdict_of(run: RunDirectory) -> Any:
    return json.loads((run.root / "verdict.json").read_text())


def test_the_verdict_of_a_race_is_of_finalists_on_fresh_seeds(run: RunDirectory, printed: str) -> None:
    verdict = verdict_of(run)
    (heat,) = verdict["race"]["heats"]
    (dropped,) = heat["dropped"]
    others = {"doremi": "", "uniform": "", "temperature": ""}
    assert dropped == max(others, key=lambda name: heat["means"][name])
    assert [one["name"] for one in verdict["candidates"]] == verdict["race"]["finalists"]
    assert dropped not in verdict["race"]["finalists"]
    assert verdict["seeds"] == verdict["race"]["seeds"] == [1, 2]
    heat_keys = {node.key for node in run.nodes().find("main", round=1)}
    assert not heat_keys & {key for one in verdict["candidates"] for key in one["trainings"].values()}
    assert all(dropped not in claim["over"] for claim in verdict["claims"])
    dropped_out = f"{dropped} dropped out in heat 1 of the race."
    for words in (dropped_out, "cover the finalists of the", "best of the finalists"):
        assert words in " ".join(printed.split()).replace("\n", " ")


def test_the_heat_is_judged_on_the_documents_in_use(run: RunDirectory) -> None:
    """The same bits per byte as of the documents themselves, whichever half they are in."""
    corpus = run.corpus()
    for name, mean in verdict_of(run)["race"]["heats"][0]["means"].items():
        folder = run.main("custom", name, 0)
        nats, start, bits = folder.document_nats(), 0, []
        for domain, count in zip(corpus.domains, first(corpus), strict=True):
            documents = documents_on(corpus, domain, count)
            bits.append(nats[start : start + count].sum() / documents["bytes"].sum() / np.log(2))
            start += count
        assert folder.bits_per_byte() == pytest.approx(bits, rel=FLOAT64)
        assert mean == pytest.approx(np.mean(bits), rel=1e-9)


def test_status_and_report_say_who_dropped_out(run: RunDirectory, config_file: Path) -> None:
    (dropped,) = verdict_of(run)["race"]["heats"][0]["dropped"]
    words = f"{dropped} dropped out in heat 1 of the race."
    said = CliRunner().invoke(app, ["status", str(config_file)], catch_exceptions=False).stdout
    assert words in said
    assert "which no heat has seen" in said
    page = (run.root / "report.html").read_text()
    assert words in page
    assert "heat 1 of the race" in page
    assert "They cover the finalists of the race only." in page


def test_a_race_that_is_not_over_is_not_judged(run: RunDirectory, config_file: Path, tmp_path: Path) -> None:
    copy = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "tiny")))
    shutil.rmtree(copy.main("custom", "temperature", 0).folder)
    asked = load(config_file, [f"runs={tmp_path}"])
    with pytest.raises(RunError, match=r"the race at custom is not over; `doremi run` goes on"):
        judge_run(asked)


@pytest.mark.slow
def test_a_race_that_was_killed_goes_on_with_the_same_bytes(
    run: RunDirectory, config_file: Path, tmp_path: Path
) -> None:
    """Killed in its heat. `doremi job` then does one of the heat's trainings, and `run` the rest."""
    again, root = ["--set", f"runs={tmp_path}"], tmp_path / "tiny"
    command = [sys.executable, "-m", "doremi", "run", str(config_file), *again]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while len(list(root.glob("trainings/*/stage.json"))) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    for words in (["job", str(config_file), "custom/temperature/seed-0", *again], ["run", str(config_file), *again]):
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    ours, theirs = results(RunDirectory(root)), results(run)
    assert [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)] == []
