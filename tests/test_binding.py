"""A key of the configuration binds a run once a result that depends on it exists; what failed binds nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from doremi.cli.commands import main
from doremi.config import validate
from doremi.rundir import binding
from doremi.rundir.binding import Result
from doremi.rundir.layout import RunDirectory
from tiny import DOMAINS, tiny_values, write_corpus, write_tiny

Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def call(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """One command on the tiny configuration with overrides: exit code and stderr."""
    config = write_tiny(tmp_path / "tiny.yaml", corpus, tmp_path / "runs", training={"steps": 4})

    def command(name: str, *overrides: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        sets = [word for override in overrides for word in ("--set", override)]
        monkeypatch.setattr(sys, "argv", ["doremi", name, str(config), *options, *sets])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), capsys.readouterr().err

    return command


def refusal(what: str, key: str, was: str, now: str) -> str:
    return f"{what} belongs to a configuration in which {key} is {was}, here it is {now}; give this run another name"


# -- whole commands ---------------------------------------------------------------------------------------------------

FAILED = {
    "data.tokenizer=./nowhere/": "there is no such folder",
    "data.text_field=txt": "has no field 'txt'",
    "data.sequence_length=99999": "one sequence needs 100,000",
    "data.domains.prose=nowhere": "nowhere",
}


@pytest.mark.parametrize("wrong", FAILED)
def test_a_first_attempt_that_failed_binds_nothing(wrong: str, call: Call) -> None:
    code, err = call("prepare", wrong)
    assert (code, FAILED[wrong] in err) == (2, True), err
    code, err = call("prepare")
    assert code == 0, err


def test_settings_that_explode_are_mended_as_told(call: Call, tmp_path: Path) -> None:
    """A checkpoint from before it does not bind, and is not gone on from."""
    wrong = ["training.learning_rate=1e30", "training.gradient_clip=1e30", "training.warmup=0.5"]
    code, err = call("reference", *wrong, "training.checkpoint_every=1")
    assert (code, "Lower training.learning_rate" in err) == (2, True), err
    assert RunDirectory(tmp_path / "runs/tiny").reference(0).saved_step() == 1
    code, err = call("reference")
    assert (code, "its checkpoints have other settings or data. Starting over." in err) == (0, True), err
    mended = (tmp_path / "runs/tiny/reference/seed-0/trace.f32").read_bytes()
    shutil.rmtree(tmp_path / "runs")
    assert call("reference")[0] == 0
    assert (tmp_path / "runs/tiny/reference/seed-0/trace.f32").read_bytes() == mended


def test_keys_bind_one_after_the_other(call: Call, tmp_path: Path) -> None:
    assert call("prepare")[0] == 0
    assert call("prepare", "data.validation_fraction=0.2")[0] == 0  # a corpus binds nothing
    assert call("prepare")[0] == 0
    code, err = call("reference", "data.sequence_length=99999")
    assert (code, "training tokens; one sequence needs 100,000: lower data.sequence_length" in err) == (2, True), err
    changed = ["training.batch_size=12", "data.sequence_length=8", "proxy.eta=2", "seed=3"]
    assert call("reference", *changed)[0] == 0
    for key, was, now in (("training.batch_size", "12", "8"), ("data.sequence_length", "8", "16"), ("seed", "3", "0")):
        code, err = call("reference", *(part for part in changed if not part.startswith(key)))
        assert (code, refusal("reference/seed-3", key, was, now) in err) == (2, True), err
    assert call("proxy", *changed[:2], changed[3], "proxy.eta=1")[0] == 0
    code, err = call("proxy", *changed)
    assert (code, refusal("proxy/seed-3", "proxy.eta", "1.0", "2.0") in err) == (2, True), err
    recorded = RunDirectory(tmp_path / "runs/tiny").config()
    assert (recorded["training"]["batch_size"], recorded["proxy"]["eta"]) == (12, 1.0)


def test_a_model_that_joins_after_a_failed_attempt_records_its_configuration(call: Call, tmp_path: Path) -> None:
    assert call("prepare", "data.text_field=txt")[0] == 2
    assert call("train", options=("--mixture", "natural"))[0] == 0
    assert RunDirectory(tmp_path / "runs/tiny").config()["data"]["text_field"] == "text"
    assert call("prepare")[0] == 0


def test_auto_is_decided_by_the_first_training(call: Call, tmp_path: Path) -> None:
    """Not by `prepare`, which may run on another machine or for another number of steps."""
    path = tmp_path / "runs/tiny/manifest.json"
    automatic = ["training.precision=auto", "training.compile=auto"]

    def chosen() -> dict[str, object]:
        return json.loads(path.read_text())["resolved"]

    assert call("prepare", *automatic)[0] == 0
    here = chosen()
    path.write_text(path.read_text().replace(f'"precision": "{here["precision"]}"', '"precision": "elsewhere"'))
    assert call("prepare", *automatic)[0] == 0
    assert chosen() == here


# -- which key binds when ---------------------------------------------------------------------------------------------


def test_every_key_binds_something_or_is_free() -> None:
    values = {**tiny_values(Path("corpus"), Path("runs")), "budget_tokens": 1000}
    keys = binding.flat(validate(values, "test").model_dump(mode="json"))
    kinds = {kind: Result(Path(), kind) for kind in ("main", "reference", "proxy")}
    bound = {key: [kind for kind, result in kinds.items() if result.depends_on(key)] for key in keys}
    for key, found in bound.items():
        assert found or key.startswith(binding.FREE), key
    all_trainings = ["main", "reference", "proxy"]
    assert bound["data.text_field"] == all_trainings
    assert all(bound[f"data.domains.{name}.train"] == all_trainings for name in DOMAINS)
    assert bound["data.sequence_length"] == bound["training.steps"] == bound["model.preset"] == all_trainings
    assert bound["reference.mixture"] == bound["rounds.max"] == ["reference", "proxy"]
    assert bound["proxy.eta"] == ["proxy"]
