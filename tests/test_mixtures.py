"""Limits: what is found is replaced by the nearest mixture that is allowed, and that is the one that is used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import RunConfig
from doremi.corpus.value import Corpus
from doremi.distributed import World
from doremi.errors import ConfigError, MixtureError
from doremi.export import export
from doremi.methods import by_mixture
from doremi.methods.method import rounded
from doremi.mixture.domains import Mixture
from doremi.mixture.files import read_mixture
from doremi.mixture.published import published_names
from doremi.pipeline.preparing import prepare
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from doremi.rundir.weights import check_name, check_names, limited
from tiny import Silent, tiny_config, write_corpus, write_tiny
from tolerances import FLOAT64

FOUND = Mixture({"prose": 0.7, "code": 0.1, "digits": 0.2})


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Corpus:
    config = tiny_config(tmp_path_factory.mktemp("prepared"), text)
    with open_workspace(config, World(0, 1, torch.device("cpu")), Silent()) as space:
        return prepare(space)


def with_limits(config: RunConfig, **limits: object) -> RunConfig:
    return RunConfig.model_validate({**config.model_dump(mode="json"), "limits": limits})


@pytest.fixture
def config(tmp_path: Path, text: Path) -> RunConfig:
    return tiny_config(tmp_path, text)


def test_no_limits_change_nothing(config: RunConfig, corpus: Corpus) -> None:
    assert limited(config, corpus, FOUND) is FOUND


def test_overall_and_own_limits(config: RunConfig, corpus: Corpus) -> None:
    limits = {"max_weight": 0.5, "domains": {"code": {"weight": 0.25}}}
    found = limited(with_limits(config, **limits), corpus, FOUND)
    assert found.weights == pytest.approx({"prose": 0.5, "code": 0.25, "digits": 0.25}, abs=FLOAT64)


def test_own_limit_goes_before_the_overall_one(config: RunConfig, corpus: Corpus) -> None:
    limits = {"max_weight": 0.5, "domains": {"prose": {"max_weight": 0.8}}}
    assert limited(with_limits(config, **limits), corpus, FOUND) == FOUND


def test_group_totals(config: RunConfig, corpus: Corpus) -> None:
    limits = {"groups": {"dry": {"domains": ["code", "digits"], "min_weight": 0.6}}}
    found = limited(with_limits(config, **limits), corpus, FOUND)
    assert found.weights == pytest.approx({"prose": 0.4, "code": 0.2, "digits": 0.4}, abs=FLOAT64)


def test_epochs_at_the_budget(config: RunConfig, corpus: Corpus) -> None:
    tokens = dict(zip(corpus.domains, corpus.count("train", "tokens"), strict=True))
    budget = 2 * tokens["prose"]
    capped = with_limits(config.model_copy(update={"budget_tokens": budget}), max_epochs=1.2)
    found = limited(capped, corpus, FOUND)
    assert found["prose"] * budget / tokens["prose"] == pytest.approx(1.2, rel=FLOAT64)
    assert found["digits"] / found["code"] == pytest.approx(2, rel=FLOAT64)


def test_a_budget_that_is_too_large_is_told_the_largest(text: Path, tmp_path: Path, corpus: Corpus) -> None:
    """Before anything is trained; and the stated budget works."""
    total = sum(corpus.count("train", "tokens"))
    path = write_tiny(
        tmp_path / "tiny.yaml", text, tmp_path / "runs", limits={"max_epochs": 2}, budget_tokens=3 * total
    )
    result = CliRunner().invoke(app, ["run", str(path)])
    assert isinstance(result.exception, MixtureError)
    assert f"{2 * total:,}" in str(result.exception) or str(2 * total) in str(result.exception)
    assert not (tmp_path / "runs/tiny/reference").exists()


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"domains": {"proes": {"weight": 0.1}}}, "limits names 'proes', which is not in data.domains"),
        ({"groups": {"g": {"domains": ["nothing"]}}}, "limits names 'nothing'"),
        ({"domains": {"code": {"weight": 0.1, "min_weight": 0.2}}}, "give either weight"),
        ({"max_weight": 1.5}, "less than or equal to 1"),
    ],
)
def test_mistakes(limits: dict[str, object], says: str, text: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        tiny_config(tmp_path, text, limits=limits)


def test_the_allowed_mixture_is_trained_judged_and_exported(text: Path, tmp_path: Path) -> None:
    limits = {"max_weight": 0.4}
    path = write_tiny(
        tmp_path / "tiny.yaml", text, tmp_path / "runs", limits=limits, candidates={"mixtures": ["doremi"]}
    )
    told = CliRunner().invoke(app, ["run", str(path), "--dry-run"], catch_exceptions=False).stdout
    assert "custom/natural/seed-0" in told  # though no one asked for it
    assert told.count("natural is trained as a candidate too.") == 1
    told = CliRunner().invoke(app, ["run", str(path)], catch_exceptions=False)
    assert told.exit_code == 0
    assert [told.output.count(say) for say in ("natural is trained as a candidate too.", "never recommended")] == [1, 1]
    run = RunDirectory(tmp_path / "runs/tiny")
    record = json.loads(run.mixture_path("doremi").read_text())
    allowed = read_mixture(run.mixture_path("doremi")).weights
    assert max(allowed.values()) == pytest.approx(0.4, abs=FLOAT64)
    assert max(record["before_limits"].values()) > 0.41
    assert rounded(read_mixture(run.proxy(0).folder / "mixture.json")).weights == record["before_limits"]
    assert run.main("custom", "doremi", 0).stage()["mixture"] == allowed
    verdict = json.loads((run.root / "verdict.json").read_text())
    doremi, natural = verdict["candidates"]
    assert max(doremi["weights"]) <= 0.4 + FLOAT64
    assert (doremi["allowed"], natural["allowed"]) == (True, False)
    assert run.main("custom", "natural", 0).folder == run.reference(0).folder  # a yardstick, left as it is
    assert max(natural["weights"]) > 0.41
    assert verdict["recommendation"]["mixture"] == "doremi"
    why = "natural breaks the limits, so the others are only measured against it."
    assert why in verdict["recommendation"]["reason"]
    page = (run.root / "report.html").read_text()
    assert "natural breaks the limits and is not for use." in page
    assert "the reference mixture, which limits do not allow" in page
    recorded = CliRunner().invoke(app, ["run", str(run.root), "--dry-run"], catch_exceptions=False).stdout
    assert "natural breaks the limits. It is trained as it is" in recorded
    assert re.search(r"custom/natural/seed-0 +done \(is doremi/reference/seed-0\)", recorded)
    written = export(run, "json", mixture="doremi")
    assert json.loads(next(p for p in written if p.suffix == ".json").read_text())["weights"] == pytest.approx(allowed)
    assert "The configured limits changed" in (run.root / "report.html").read_text()


@pytest.mark.parametrize("name", ["doremi", "natural", "uniform", "temperature", "unimax", published_names()[0]])
def test_a_file_cannot_take_the_name_of_a_mixture_of_our_own(name: str) -> None:
    check_name(name, by_mixture())
    with pytest.raises(MixtureError, match=f"'old/{name}.json' would be called '{name}'.*: rename the file, or write"):
        check_name(f"old/{name}.json", by_mixture())


def test_two_files_cannot_have_one_name() -> None:
    check_names(["natural", "a/x.json", "a/y.json", "natural", "a/x.json"])
    with pytest.raises(MixtureError, match=r"'a/x\.json' and 'b/x\.json' would both be called 'x'"):
        check_names(["natural", "a/x.json", "b/x.json"])


def test_a_model_of_ones_own_cannot_take_a_candidates_name(text: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"prose": 1, "code": 1, "digits": 1}))
    config = write_tiny(tmp_path / "c.yaml", text, tmp_path / "runs", candidates={"mixtures": ["natural", "b/x.json"]})
    result = CliRunner().invoke(app, ["train", str(config), "--mixture", str(tmp_path / "x.json")])
    assert isinstance(result.exception, MixtureError)
    assert "would both be called 'x'" in str(result.exception)
    assert not list((tmp_path / "runs").rglob("x.json"))
