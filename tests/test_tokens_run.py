"""Files of tokens in every form through whole commands, from `init` to the report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.errors import DamageError, ExportError
from doremi.rundir.layout import RunDirectory
from shaped import SMALL, WORDS
from token_shapes import FORMS, written

NAMES = list(FORMS)


def doremi(*words: str, sets: bool = True) -> str:
    options = [part for option in SMALL for part in ("--set", option)] if sets else []
    result = CliRunner().invoke(app, [*words, *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def described(forms: list[str]) -> str:
    """A folder a domain, and what `init` says of them."""
    written(Path("texts"), forms)
    Path("texts/tokenizer").rename("tokenizer")
    return doremi("init", "my.yaml", "texts", "--tokenizer", "tokenizer/tokenizer.json", sets=False)


def test_init_knows_tokens(tmp_path: Path) -> None:
    out = described(["megatron", "datatrove", "parquet"])
    assert "web: 2 training files, validation split off (already tokenized)" in out
    data = yaml.safe_load(Path("my.yaml").read_text())["data"]
    assert data["tokenizer"] == "tokenizer/tokenizer.json"
    assert data["domains"]["law"] == {"train": "texts/law", "tokenized": True}
    assert "web                                  ~60         ~16,488           4,711" in out
    shutil.rmtree("texts/law")
    shutil.rmtree("texts/web")
    shutil.copytree("texts/code", "texts/law")
    doremi("init", "other.yaml", "texts", sets=False)
    assert "tokenizer: gpt2  # made the tokens" in Path("other.yaml").read_text()  # datatrove says so


@pytest.mark.slow
@pytest.mark.parametrize("forms", [NAMES[:3], NAMES[3:6], NAMES[5:]], ids=" ".join)
def test_each_form_to_the_report(forms: list[str]) -> None:
    described(forms)
    if forms == NAMES[:3]:
        assert "memory: the largest training" in doremi("run", "my.yaml", "--dry-run")
        assert "tokens" in doremi("plan", "my.yaml")
    doremi("prepare", "my.yaml")
    assert "Use " in doremi("run", "my.yaml")
    run = RunDirectory(Path("runs/my"))
    assert (run.root / "report.html").exists()
    assert all(entry.in_place is not None for entry in run.corpus().entries.values())


@pytest.mark.slow
def test_a_run_whose_tokens_were_moved_says_so() -> None:
    described(["megatron", "flat", "saved"])
    doremi("run", "my.yaml", "--set", "budget_tokens=20000", "--set", "data.epoch_matched=true")
    with pytest.raises(ExportError, match=r"domain 'code': its tokens are used where they lie.*--path code="):
        doremi("export", "runs/my", "--to", "nanotron", sets=False)
    places = [part for topic in WORDS for part in ("--path", f"{topic}=/data/{topic}")]
    doremi("export", "runs/my", "--to", "megatron", *places, sets=False)
    doremi("sample", "runs/my", "--to", "jsonl", "--tokens", "3000", "--out", "drawn", sets=False)
    assert Path("drawn/shard-00000.jsonl").read_text().count("\n") > 20
    doremi("prepare", "runs/my", "--full", sets=False)
    Path("texts").rename("elsewhere")
    with pytest.raises(DamageError, match=r"and .*texts/.* is missing; put it back as it was, or remove .*corpora"):
        doremi("prepare", "runs/my", sets=False)
