"""A second search method in one file: run, plan, verdict, report and export take it as they take DoReMi."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import doremi
from doremi import methods
from doremi.cli.commands import app
from doremi.config import RunConfig, load
from doremi.distributed import World
from doremi.methods.method import Results, SearchMethod, rounded
from doremi.mixture.domains import Mixture
from doremi.mixture.record import MixtureRecord, Round
from doremi.plan.stages import stages
from doremi.plan.whole import whole_run
from doremi.report.facts import read_facts
from doremi.rundir.context import Context
from doremi.rundir.graph import Declared
from doremi.rundir.layout import RunDirectory
from doremi.rundir.node import Found, Node
from doremi.rundir.specs import MixtureSpec, TrainingSpec
from tiny import write_corpus, write_tiny

BLENDED = ("natural", "uniform")


class Blend:
    """The mean of two plain mixtures, weighted by how low the loss of a model on each of them is."""

    name = "blend"
    names = ("blend",)

    def check(self, config: RunConfig) -> None:
        pass

    def declare(self, context: Context) -> Declared:
        seed = context.config.seed
        models = {
            plain: context.train(
                Node(f"blend/{plain}/seed-{seed}", "training", "reference", method="blend", seed=seed),
                context.plain(plain), context.why_not(plain),
            )
            for plain in BLENDED
        }  # fmt: skip
        mixture = Node(
            "blend/mixture", "mixture", "mixture", needs=tuple(m.id for m in models.values()), method="blend"
        )
        keys = tuple((plain, m.spec.key) for plain, m in models.items() if isinstance(m.spec, TrainingSpec))
        if len(keys) == len(models) and context.corpus is not None:
            config = context.config
            spec = MixtureSpec("blend", context.corpus.fingerprint, keys, config.limits, config.budget, "{}")
            mixture = Node(
                mixture.id, "mixture", "mixture", spec, mixture.needs, method="blend",
            )  # fmt: skip
        by_seed = dict.fromkeys(context.candidate_seeds(), mixture)
        return Declared((*models.values(), mixture), {"blend": Found("found", "blend", by_seed)})

    def mixture(self, spec: MixtureSpec, results: Results) -> MixtureRecord:
        weights = {name: 0.0 for name in results.corpus.domains}
        for folder in results.trainings.values():
            value = 1 / float(np.mean(folder.evaluation()["select"]["loss"]))
            for name, weight in folder.stage()["mixture"].items():
                weights[name] += value * weight
        return MixtureRecord(weights=dict(rounded(Mixture(weights)).weights), method="blend", source="two plain models")

    def history(self, context: Context) -> tuple[Round, ...]:
        return ()

    def remark(self, context: Context) -> str | None:
        return None


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("methods")
    return write_tiny(
        root / "tiny.yaml", write_corpus(root / "text"), root / "runs", training={"steps": 6, "evaluate_every": 3},
        candidates={"mixtures": ["doremi", "blend", "natural", "uniform"], "seeds": 2, "equal_compute": True},
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def registered() -> object:
    with pytest.MonkeyPatch.context() as patch:
        method: SearchMethod = Blend()
        patch.setattr(methods, "METHODS", [*methods.METHODS, method])
        yield


def say(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def printed(config: Path) -> str:
    return say("run", str(config))


@pytest.fixture
def run(config: Path, printed: str) -> RunDirectory:
    return RunDirectory(config.parent / "runs/tiny")


def test_its_mixture_is_made_and_trained_on(run: RunDirectory, printed: str) -> None:
    record = json.loads(run.mixture_path("blend").read_text())
    plain = [json.loads(run.mixture_path(name).read_text())["weights"] for name in BLENDED]
    for domain, weight in record["weights"].items():
        assert min(p[domain] for p in plain) < weight < max(p[domain] for p in plain)
    assert record["version"].startswith("blend.")
    assert [run.main("custom", "blend", seed).stage()["mixture"] for seed in (0, 1)] == [record["weights"]] * 2
    assert "domain                          natural    blend" in printed


def test_its_models_are_the_plain_candidates(run: RunDirectory) -> None:
    """Nothing is trained twice, whoever asks for it."""
    (natural, uniform) = run.nodes().find("reference", method="blend")
    assert natural.place == run.nodes().find("main", mixture="natural", seed=0)[0].place
    assert uniform.place == run.nodes().find("main", mixture="uniform", seed=0)[0].place


def test_the_verdict_judges_it_as_a_found_mixture(run: RunDirectory) -> None:
    held = json.loads((run.root / "verdict.json").read_text())
    pairs = {(c["candidate"], c["opponent"], c["family"]) for c in held["comparisons"]}
    assert ("blend", "natural", "primary") in pairs
    assert ("doremi", "natural", "primary") in pairs
    longer = [(c["name"], c["search"]) for c in held["equal_compute"]["candidates"] if c["longer"]]
    assert longer == [(name, search) for search in ("doremi", "blend") for name in BLENDED]
    stages = {n.method: run.training(n).stage() for n in run.nodes().find("longer", mixture="natural", seed=0)}
    assert 6 < stages["blend"]["steps"] < stages["doremi"]["steps"]  # two plain models cost less than DoReMi's search


def test_the_report_shows_it(run: RunDirectory) -> None:
    assert [search.name for search in read_facts(run).searches] == ["doremi", "blend"]
    page = " ".join((run.root / "report.html").read_text().split())
    weights = json.loads(run.mixture_path("blend").read_text())["weights"]
    assert all(f"{100 * weight:.1f}" in page or f"{100 * weight:.2f}" in page for weight in weights.values())


def test_it_is_exported(run: RunDirectory, tmp_path: Path) -> None:
    say("export", str(run.root), "--to", "json", "--mixture", "blend", "--out", str(tmp_path / "out"))
    written = json.loads((tmp_path / "out/mixture.json").read_text())
    recorded = json.loads(run.mixture_path("blend").read_text())
    assert written["weights"] == pytest.approx(recorded["weights"], abs=1e-9)
    assert written["method"] == "blend"


def test_plan_status_and_jobs_know_it(config: Path, run: RunDirectory) -> None:
    assert "blend/mixture" in say("jobs", str(config))
    assert "waiting" not in say("status", str(run.root))
    asked = load(config)
    planned = stages(asked, whole_run(asked, run.whole_corpus(), World(0, 1, torch.device("cpu"))))
    numbers = {stage.role: stage.number for stage in planned}
    assert (numbers["reference"], numbers["proxy"]) == (2, 1)  # natural for both methods, and uniform


def test_nothing_else_asks_for_the_name_of_a_method() -> None:
    """Outside of the method's own file, and of the product's name."""
    source = Path(doremi.__file__).parent
    asking = [
        str(path.relative_to(source))
        for path in sorted(source.rglob("*.py"))
        if any(f"== {quote}doremi{quote}" in path.read_text() or f"[{quote}doremi{quote}]" in path.read_text()
               for quote in "\"'")
    ]  # fmt: skip
    assert asking == []
