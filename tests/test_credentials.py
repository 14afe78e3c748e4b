"""No key, password or token is kept or shown: refused in configurations, masked in messages, not in a whole run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.config import load
from doremi.credentials import MASK, masked, what_is_secret
from doremi.errors import ConfigError, one_line, reason_of
from tiny import write_corpus, write_tiny

MARK = "m4rk3r-that-nobody-writes"
SECRET = [
    f"s3://user:{MARK}@bucket/text.jsonl",
    f"https://host/text.jsonl?token={MARK}",
    f"https://host/text.jsonl?part=1&X-Amz-Signature={MARK}",
    "hf_" + "abcdefghij" * 3,
    "wandb_v1_" + "abcdefghij" * 3,
    f"WANDB_API_KEY={MARK}",
]
HARMLESS = [
    "s3://bucket/key=5/token/x.jsonl",
    "abfs://container@account.dfs.core.windows.net/text",
    "hf://datasets/some/set@main/train.parquet",
    "https://host/text.jsonl?download=true",
    "/data/lang=en/token=3/a@b.txt",
    "memory://web",
    "hf_tokens_of_the_web",
]


@pytest.mark.parametrize("text", SECRET)
def test_what_is_secret_is_found_and_masked(text: str) -> None:
    assert what_is_secret(text) is not None
    shown = masked(f"cannot read {text} (refused)")
    assert MASK in shown
    assert MARK not in shown
    assert "abcdefghij" not in shown
    assert what_is_secret(shown) is None or MASK in shown


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays(text: str) -> None:
    assert what_is_secret(text) is None
    assert masked(text) == text


def test_values_of_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MARK)
    monkeypatch.setenv("SOME_TOKEN", "short")
    assert masked(f"signed with {MARK}, short") == f"signed with {MASK}, short"
    assert one_line(f"a\n{MARK}") == f"a {MASK}"
    assert reason_of(ValueError(MARK)) == MASK


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data": {"domains": {"prose": SECRET[0], "code": "x"}}}, "data.domains.prose"),
        ({"data": {"tokenizer": SECRET[1]}}, "data.tokenizer"),
        ({"model": {"options": {"token": MARK}}}, "model.options.token"),
        ({"reference": {"reuse": SECRET[2]}}, "reference.reuse"),
        ({"data": {"vocab_size": SECRET[0]}}, "data.vocab_size"),
    ],
)
def test_a_configuration_with_a_credential_is_refused(tmp_path: Path, changes: dict[str, object], key: str) -> None:
    path = write_tiny(tmp_path / "c.yaml", tmp_path / "text", tmp_path / "runs", **changes)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert f"{key}: holds a" in message
    assert "in the environment" in message
    assert MARK not in message


def test_an_override_with_a_credential_is_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "c.yaml", tmp_path / "text", tmp_path / "runs")
    for override in (f"data.tokenizer={SECRET[0]}", f"{SECRET[0]}", f"data.tokenizer.x.y={SECRET[1]}"):
        with pytest.raises(ConfigError) as caught:
            load(path, [override])
        assert MARK not in str(caught.value)


def test_a_whole_run_holds_nothing_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY")
    marks = {name: f"{MARK}-{number}-{'0' * 20}" for number, name in enumerate(names)}
    for name, mark in marks.items():
        monkeypatch.setenv(name, mark)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "runs" / "trackio"))
    trackers = [name for name in ("tensorboard", "wandb", "trackio") if find_spec(name) is not None]
    path = write_tiny(tmp_path / "c.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs", trackers=trackers)
    refused = CliRunner().invoke(app, ["run", str(path), "--set", f"data.tokenizer=https://h/t?token={MARK}"])
    assert isinstance(refused.exception, ConfigError)
    done = CliRunner().invoke(app, ["run", str(path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "runs" / "tiny" / "report.html").exists()
    assert MARK not in done.output
    files = [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    assert [file for file in files if MARK.encode() in file.read_bytes()] == []
