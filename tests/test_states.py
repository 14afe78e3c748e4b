"""States that never mix: what is added to a finished run, moved, done job by job, or changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.cli.jobs import jobs_table
from doremi.config import RunConfig
from doremi.distributed import World
from doremi.errors import RunError
from doremi.events.event import Event, Stepped
from doremi.executors.choose import chosen
from doremi.pipeline import host, workspace
from doremi.pipeline import run as running
from doremi.pipeline.planning import as_it_is
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from doremi.rundir.specs import TrainingSpec
from tiny import Silent, tiny_config, write_corpus, write_tiny

ALONE = World(0, 1, torch.device("cpu"))
SHORT = {"steps": 4, "evaluate_every": 2, "log_every": 2}
FIRST: dict[str, Any] = {"candidates": {"mixtures": ["doremi", "natural"], "seeds": 1}}
WHOLE: dict[str, Any] = {
    "candidates": {"mixtures": ["doremi", "natural", "uniform"], "seeds": 2, "sizes": ["custom", "0.1m"]},
    "proxy": {"seeds": 2},
    "rounds": {"max": 2},
    "limits": {"max_weight": 0.6},
}
ADDED: dict[str, tuple[str, str, Any]] = {
    "seeds": ("candidates", "seeds", 2),
    "candidates": ("candidates", "mixtures", ["doremi", "natural", "uniform"]),
    "sizes": ("candidates", "sizes", ["custom", "0.1m"]),
    "proxies": ("proxy", "seeds", 2),
    "rounds": ("rounds", "max", 2),
    "limits": ("limits", "max_weight", 0.6),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("text"))


@pytest.fixture(autouse=True)
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "write_report", lambda _: None)


def everything(config: RunConfig) -> RunDirectory:
    with open_workspace(config, ALONE, Silent()) as space:
        running.everything(space, chosen)
    return RunDirectory(config.root)


def asked(folder: Path, text: Path, **changes: Any) -> RunConfig:
    return tiny_config(folder, text, training=SHORT, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, text: Path) -> RunDirectory:
    """A run that had everything from the start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "write_report", lambda _: None)
        return everything(asked(tmp_path_factory.mktemp("whole"), text, **WHOLE))


def results(run: RunDirectory) -> dict[str, bytes]:
    """Every file of the trainings and mixtures that are current, and the verdict."""
    places = {node.place for node in run.nodes().nodes if node.place}
    found = {}
    for path in sorted(run.root.rglob("*")):
        name = str(path.relative_to(run.root))
        if path.is_file() and any(name == place or name.startswith(f"{place}/") for place in places):
            found[name] = path.read_bytes()
    plain = {
        path.name: path.read_bytes() for path in (run.root / "mixtures").glob("*.json") if path.stem.count(".") == 0
    }
    return {**found, **plain, **{name: (run.root / name).read_bytes() for name in ("mixture.json", "verdict.json")}}


@pytest.mark.parametrize("order", [list(ADDED), list(ADDED)[::-1]], ids=["forwards", "backwards"])
def test_what_is_added_gives_the_bytes_of_a_run_that_had_it(
    order: list[str], whole: RunDirectory, text: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {key: dict(value) for key, value in FIRST.items()}
    run = everything(asked(tmp_path, text, **changes))
    for name in order:
        section, key, value = ADDED[name]
        changes.setdefault(section, {})[key] = value
        run = everything(asked(tmp_path, text, **changes))
    ours, theirs = results(run), results(whole)
    assert [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)] == []
    kept = [record.kind for record in run.nodes().earlier]
    assert "mixture" in kept  # versions beside, shown as such
    assert whole.nodes().earlier == ()


def test_only_what_is_missing_is_trained(text: Path, tmp_path: Path) -> None:
    first = everything(asked(tmp_path, text, **FIRST))
    before = {p: p.stat().st_mtime_ns for p in (first.root / "trainings").rglob("*")}
    everything(asked(tmp_path, text, candidates={"mixtures": ["doremi", "natural"], "seeds": 2}))
    assert {p: p.stat().st_mtime_ns for p in before if p.is_file()} == {p: t for p, t in before.items() if p.is_file()}
    assert (
        len(list((first.root / "trainings").glob("*")))
        == len({p.parts[-1] for p in before if p.parent.name == "trainings"}) + 2
    )


def test_a_longer_training_lies_beside_the_old_one(text: Path, tmp_path: Path) -> None:
    run = everything(asked(tmp_path, text, **FIRST))
    old = run.reference(0).folder
    everything(tiny_config(tmp_path, text, training={**SHORT, "steps": 6}, **FIRST))
    assert run.reference(0).stage()["steps"] == 6
    assert json.loads((old / "stage.json").read_text())["steps"] == 4
    assert str(old.relative_to(run.root)) in [record.place for record in run.nodes().earlier]


def test_going_back_finds_everything_again(text: Path, tmp_path: Path) -> None:
    config = asked(tmp_path, text, **FIRST)
    before = results(everything(config))
    everything(tiny_config(tmp_path, text, training={**SHORT, "learning_rate": 0.02}, **FIRST))
    run = RunDirectory(config.root)
    made = sorted((run.root / "trainings").glob("*"))
    assert results(everything(config)) == before
    assert sorted((run.root / "trainings").glob("*")) == made


def test_a_run_that_is_moved_and_renamed_goes_on(text: Path, tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", training=SHORT, **FIRST)
    assert CliRunner().invoke(app, ["run", str(config)], catch_exceptions=False).exit_code == 0
    before = results(RunDirectory(tmp_path / "runs/tiny"))
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    (tmp_path / "elsewhere/tiny").rename(tmp_path / "elsewhere/other")
    place = str(tmp_path / "elsewhere/other")
    assert CliRunner().invoke(app, ["run", place], catch_exceptions=False).exit_code == 0
    assert results(RunDirectory(Path(place))) == before
    more = ["run", place, "--set", "candidates.seeds=2"]
    assert CliRunner().invoke(app, more, catch_exceptions=False).exit_code == 0
    assert RunDirectory(Path(place)).main("custom", "natural", 1).finished
    assert not (tmp_path / "runs").exists()


def test_jobs_one_by_one_are_the_run(text: Path, tmp_path: Path) -> None:
    """Each as soon as it can be done, the last in the list first; one of them twice."""
    several = {**FIRST, "proxy": {"seeds": 2}}
    expected = results(everything(asked(tmp_path / "whole", text, **several)))
    config = asked(tmp_path / "jobs", text, **several)
    path, invoke, done = str(tmp_path / "jobs/tiny.yaml"), CliRunner().invoke, list[str]()
    assert invoke(app, ["prepare", path], catch_exceptions=False).exit_code == 0
    while True:
        plan = as_it_is(config, RunDirectory(config.root))
        ready = [node.id for node in plan.work() if plan.ready(node)]
        if not ready:
            break
        done.append(ready[-1])
        assert invoke(app, ["job", path, done[-1]], catch_exceptions=False).exit_code == 0
    assert invoke(app, ["job", path, done[0]], catch_exceptions=False).exit_code == 0
    assert done[-1] == "verdict"
    assert "doremi/reference/seed-1" in done[:3]
    assert results(RunDirectory(config.root)) == expected


def test_a_job_says_what_it_waits_for(text: Path, tmp_path: Path) -> None:
    config = asked(tmp_path, text, **FIRST)
    with open_workspace(config, ALONE, Silent()) as space:
        with pytest.raises(RunError, match=r"doremi/proxy/seed-0 waits for doremi/reference/seed-0: do that first"):
            running.one_job(space, "doremi/proxy/seed-0")
        with pytest.raises(RunError, match="no job 'doremi/proxy/seed-1'"):
            running.one_job(space, "doremi/proxy/seed-1")


def test_clean_lists_and_removes_what_no_result_needs(text: Path, tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", training=SHORT, **FIRST)
    place, invoke = str(tmp_path / "runs/tiny"), CliRunner().invoke
    run = RunDirectory(Path(place))
    assert invoke(app, ["run", str(config)], catch_exceptions=False).exit_code == 0
    assert "All that is here is needed" in invoke(app, ["clean", place], catch_exceptions=False).stdout
    old = {path.name for path in (run.root / "trainings").glob("*")}
    faster = ["run", str(config), "--set", "training.learning_rate=0.02"]
    assert invoke(app, faster, catch_exceptions=False).exit_code == 0
    listed = invoke(app, ["clean", place], catch_exceptions=False).stdout
    assert all(name in listed for name in old)
    assert "Nothing was removed" in listed
    kept = results(run)
    assert "They are removed" in invoke(app, ["clean", place, "--remove"], catch_exceptions=False).stdout
    assert {path.name for path in (run.root / "trainings").glob("*")}.isdisjoint(old)
    assert results(run) == kept
    assert "All that is here is needed" in invoke(app, ["clean", place]).stdout


def test_clean_removes_nothing_that_may_still_be_needed(text: Path, tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", training=SHORT, **FIRST)
    assert CliRunner().invoke(app, ["reference", str(config)], catch_exceptions=False).exit_code == 0
    result = CliRunner().invoke(app, ["clean", str(config), "--remove"])
    assert result.exit_code != 0
    assert "it is not known yet what custom/doremi/seed-0 is made of" in str(result.exception)


def test_a_corpus_is_cleaned_away_when_no_run_uses_it(text: Path, tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", training=SHORT, **FIRST)
    invoke, corpora = CliRunner().invoke, tmp_path / "runs/corpora"

    def say(*words: str) -> str:
        result = invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    say("prepare", str(config), "--set", "name=other")
    say("run", str(config))
    (shared,) = corpora.iterdir()
    say("run", str(config), "--set", "data.vocab_size=320")
    assert len(list(corpora.iterdir())) == 2
    assert str(shared) not in say("clean", str(tmp_path / "runs/tiny"))  # the other run uses it
    shutil.rmtree(tmp_path / "runs/other")
    assert str(shared) in say("clean", str(tmp_path / "runs/tiny"), "--remove")
    assert [path.name for path in corpora.iterdir()] != [shared.name]
    assert not shared.exists()
    assert "All that is here is needed" in say("clean", str(tmp_path / "runs/tiny"))


def test_proxies_added_to_a_finished_run_show_both_versions(text: Path, tmp_path: Path) -> None:
    """No weights beside results of models that were not trained on them, at any moment."""
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs", training=SHORT, **FIRST)
    place, invoke = str(tmp_path / "runs/tiny"), CliRunner().invoke
    assert invoke(app, ["run", str(config)], catch_exceptions=False).exit_code == 0
    run = RunDirectory(Path(place))
    before = run.mixture_path("doremi")
    assert invoke(app, ["proxy", place, "--set", "proxy.seeds=2"], catch_exceptions=False).exit_code == 0
    assert isinstance(invoke(app, ["export", place, "--to", "json"]).exception, RunError)
    named = invoke(app, ["export", place, "--to", "json", "--mixture", "doremi"], catch_exceptions=False)
    assert "no model of this run was trained on these weights" in named.output
    assert invoke(app, ["run", place], catch_exceptions=False).exit_code == 0
    after = run.mixture_path("doremi")
    assert after != before
    assert before.exists()
    assert json.loads((run.root / "mixture.json").read_text())["version"] == after.stem
    trained = run.main("custom", "doremi", 0).stage()["mixture"]
    assert trained == json.loads(after.read_text())["weights"]
    status = invoke(app, ["status", place], catch_exceptions=False).stdout
    assert "kept from earlier settings: " in status
    assert "1 mixture" in status
    assert invoke(app, ["export", place, "--to", "json"], catch_exceptions=False).exit_code == 0


def test_recorded_threads_are_used_where_fewer_cores_are_free(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every key would be another one there, and a gradient would have other last bits."""
    changes = {"training": {**SHORT, "threads": "auto"}, **FIRST}
    for place in (host, workspace):
        monkeypatch.setattr(place, "available_cores", lambda: 3)
    run = everything(tiny_config(tmp_path, text, **changes))
    made = sorted((run.root / "trainings").iterdir())
    for place in (host, workspace):
        monkeypatch.setattr(place, "available_cores", lambda: 1)
    config = tiny_config(tmp_path, text, **{**changes, "candidates": {"mixtures": ["doremi", "natural"], "seeds": 2}})
    everything(config)
    assert set(made) <= set((run.root / "trainings").iterdir())
    assert run.nodes().earlier == ()
    spec = as_it_is(config, run).node("custom/natural/seed-1").spec
    assert isinstance(spec, TrainingSpec)
    assert spec.settings.threads == torch.get_num_threads() == 3


def test_a_running_job_is_shown(text: Path, tmp_path: Path) -> None:
    config = asked(tmp_path, text, **FIRST)
    seen: list[str] = []

    class Looking(Silent):
        def emit(self, event: Event) -> None:
            if isinstance(event, Stepped):
                seen.append(jobs_table(config))

    with open_workspace(config, ALONE, Looking()) as space:
        running.search(space, chosen, references_only=True)
    assert "doremi/reference/seed-0  running" in seen[0]
    assert "running" not in jobs_table(config).replace("doremi/reference/seed-0  done", "")
