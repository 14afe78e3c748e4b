"""The dry run checks what a run would, and says of the models what `doremi plan` says and what the run then has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from doremi.cli import commands as cli
from doremi.corpus.bpe import train_bpe
from doremi.corpus.prepare import prepare
from doremi.corpus.sources import find_all
from doremi.corpus.tokenizer import END_OF_TEXT, TextTokenizer
from doremi.corpus.validation import FEWEST
from doremi.distributed import World
from doremi.errors import ConfigError, DataError, DoremiError
from doremi.plan import forecast
from doremi.rundir.data_request import prepare_request
from doremi.rundir.machine import Host
from read_exports import weights_file
from tiny import DOMAINS, tiny_config, tiny_values, write_corpus


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """A run whose tokenizer is named, and has another vocabulary than one that would be trained."""
    words = ["one two three four five six seven eight nine ten"] * 20
    backend = train_bpe(iter(words), 270, END_OF_TEXT, lambda step, share: None, lambda: False)
    TextTokenizer(backend, "trained").save(tmp_path / "tokenizer")
    values = tiny_values(write_corpus(tmp_path / "text"), tmp_path / "runs")
    del values["data"]["vocab_size"]
    values["data"]["tokenizer"] = str(tmp_path / "tokenizer")
    return values


def said(place: Path, values: dict[str, Any], *words: str) -> str:
    (place / "my.yaml").write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(
        cli.app, [*(words or ("run",)), str(place / "my.yaml"), *([] if words else ["--dry-run"])]
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def parameters(text: str) -> list[str]:
    return re.findall(r"model \w+: ([\d,]+) parameters", text)


def test_parameters_are_those_at_the_vocabulary_of_the_named_tokenizer(tmp_path: Path, values: dict[str, Any]) -> None:
    before = said(tmp_path, values)
    said(tmp_path, values, "prepare")
    after = said(tmp_path, values)
    counts = json.loads((tmp_path / "runs" / "tiny" / "counts.json").read_text())["counts"]
    assert parameters(before) == parameters(after) == [f"{one['parameters']:,}" for one in counts.values()]
    assert parameters(before) != parameters(said(tmp_path, {**values, "data": {**values["data"], "tokenizer": None}}))
    assert "corpus: to prepare, about " in before
    assert "corpus: prepared, in " in after
    assert "bytes/token" in after  # the table of the data, before the first training
    assert not [line for line in before.splitlines() if line.startswith("warning")]


@pytest.mark.parametrize("broken", ["missing", "no end"])
def test_a_tokenizer_that_the_run_could_not_use_is_refused(broken: str, tmp_path: Path, values: dict[str, Any]) -> None:
    if broken == "missing":
        values["data"]["tokenizer"] = str(tmp_path / "nowhere")
    else:
        config = tmp_path / "tokenizer" / "tokenizer_config.json"
        config.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(ConfigError, match="there is no such folder" if broken == "missing" else "no end-of-text token"):
        said(tmp_path, values)


def test_a_budget_that_the_text_does_not_reach_is_told_before_it_is_prepared(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    values |= {"budget_tokens": 10**9, "limits": {"max_epochs": 4}}
    text = said(tmp_path, values)
    assert "by these estimates the run will be refused: a budget of 1000000000 tokens is too large" in text
    for name, path in values["data"]["domains"].items():
        values["data"]["domains"][name] = {"train": path, "tokens": 10**9}
    text = said(tmp_path, values)
    assert "refused" not in text
    assert "training tokens, of about 2,999," in text or "training tokens, of about 3,000," in text


def test_a_sample_that_a_training_repeats_is_told_with_the_size_that_would_do(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    values["training"]["steps"] = 400  # 51,200 tokens
    values["data"]["domains"]["code"] = {"train": values["data"]["domains"]["code"], "tokens": 10**9}
    text = said(tmp_path, values)
    warning = next(line for line in text.splitlines() if line.startswith("warning: A training repeats"))
    assert re.search(r"read of code \(\d+\.\d times\)", warning)
    wanted = int(re.search(r"a sample of about ([\d,]+) tokens", warning)[1].replace(",", ""))  # pyright: ignore
    assert 51_000 <= wanted <= 60_000
    said(tmp_path, values, "prepare")
    assert "A training repeats what was read of code" in said(tmp_path, values)
    manifest = json.loads((tmp_path / "runs" / "tiny" / "corpus" / "manifest.json").read_text())
    values["data"]["domains"]["code"]["tokens"] = manifest["domains"]["code"]["tokens"]  # repeated like the whole
    assert "A training repeats" not in said(tmp_path, values)


def test_what_is_held_out_of_small_domains_is_estimated_by_their_rule(tmp_path: Path) -> None:
    """A fifth of few documents, 64 parts of a book, and the fraction of many."""
    for name, (documents, words) in zip(DOMAINS, [(100, 20), (1, 14_000), (2000, 10)], strict=True):
        lines = [json.dumps({"text": f"{name} {i} of " + "letters " * words}) for i in range(documents)]
        if documents == 1:
            lines = [json.dumps({"text": " ".join(f"part {i} of one book" for i in range(words))})]
        (tmp_path / "text" / name).mkdir(parents=True)
        (tmp_path / "text" / name / "a.jsonl").write_text("\n".join(lines))
    data = {"validation_max_tokens": 60_000, "validation_fraction": 0.05}
    config = tiny_config(tmp_path, tmp_path / "text", data=data)
    request = prepare_request(config)
    guessed = forecast.forecast(config, World(0, 1, torch.device("cpu")), None, find_all(request.domains)).corpus
    real = prepare(request, tmp_path / "corpus")
    for corpus in (guessed, real):
        assert corpus.count("validation", "documents") == pytest.approx([20, FEWEST, 100], rel=0.2)
    for split in ("train", "validation"):
        assert guessed.count(split, "bytes") == pytest.approx(real.count(split, "bytes"), rel=0.2)


def test_too_little_memory_is_told(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "memory: the largest training takes about 4" in said(tmp_path, values)
    monkeypatch.setattr(forecast, "this_host", lambda: Host(2, 10**8))
    assert "warning: the largest training needs about 4" in said(tmp_path, values)


def test_a_record_that_the_run_would_stop_at_stops_the_dry_run(tmp_path: Path, values: dict[str, Any]) -> None:
    with (tmp_path / "text" / "code" / "text.jsonl").open("a") as file:
        file.write('{"text": null}\n')
    with pytest.raises(DataError, match=r"text.jsonl, line 61: field 'text' is null"):
        said(tmp_path, values)
    values["data"]["on_bad_record"] = "skip"
    assert "stages:" in said(tmp_path, values)


# -- what is refused -------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such tokenizer": ({"data": {"tokenizer": "/nowhere/at-all"}}, "there is no such folder"),
    "heads": ({"model": {"options": {"hidden_size": 30, "num_attention_heads": 4}}}, "not a multiple of the number"),
    "no such option": ({"model": {"options": {"hiden_size": 32}}}, "has no such key; did you mean 'hidden_size'?"),
    "the tokenizer's option": ({"model": {"options": {"vocab_size": 9}}}, "the tokenizer decides it"),
    "no such architecture": ({"model": {"architecture": "nosuch"}}, "cannot build a causal language model 'nosuch'"),
    "no such size": ({"candidates": {"sizes": ["7x"]}}, "there is no preset '7x'"),
    "too much at least": ({"limits": {"min_weight": 0.6}}, "the mixture can have 1 but its domains need 1.8"),
    "too little at most": ({"limits": {"max_weight": 0.2}}, "the mixture needs 1 but its domains reach 0.6"),
    "no such mixture": ({"candidates": {"mixtures": ["doremi", "nosuch"]}}, "there is no mixture 'nosuch'"),
    "no such candidate's file": ({"candidates": {"mixtures": ["doremi", "/x.json"]}}, "/x.json: there is no such file"),
    "no such reference's file": ({"reference": {"mixture": "/x.json"}}, "reference.mixture: /x.json: there is no such"),
    "no such run to reuse": ({"reference": {"reuse": "/nowhere"}}, "reference.reuse: /nowhere: is not a run directory"),
    "no such choice": ({"proxy": {"choices": {"clipp": 1}}}, "there is no choice 'clipp'; there are excess, clip,"),
    "no such text": ({"data": {"domains": {"prose": "/nowhere"}}}, "/nowhere: there is no such file or folder"),
    "no such tasks": ({"downstream": {"tasks": "/nowhere"}}, "/nowhere is not a folder"),
    "no place for runs": ({"runs": __file__}, "cannot be a run directory (Not a directory)"),
    "a folder of the system": ({"runs": "/proc"}, "/proc/tiny: cannot be a run directory (nothing can be made there)"),
    "somebody's folder": ({"runs": str(Path(__file__).parent.parent), "name": "tests"}, "holds files that are not"),
}  # fmt: skip


def changed(values: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    inner = {key: changed(values.get(key, {}), new) for key, new in change.items() if isinstance(new, dict)}
    return {**values, **change, **inner}


FIRST = ("no such tokenizer", "no such option", "too much at least", "no such candidate's file")  # the others are slow


@pytest.mark.parametrize("what", [w if w in FIRST else pytest.param(w, marks=pytest.mark.slow) for w in REFUSED])
def test_the_dry_run_refuses_what_the_run_refuses(what: str, tmp_path: Path, values: dict[str, Any]) -> None:
    change, says = REFUSED[what]
    values, told = changed(values, change), []
    for words in ((), ("run",)):
        with pytest.raises(DoremiError) as caught:
            said(tmp_path, values, *words)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert says in told[0]
    assert not list(tmp_path.glob("runs/**/*.bin"))  # before any work


def test_a_run_that_has_begun_goes_on_without_the_files_that_it_has_copied(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    """Nor does it need the run that it reused."""
    mine = weights_file(tmp_path / "mine.json", dict.fromkeys(DOMAINS, 1.0))
    values |= {"candidates": {"mixtures": ["natural", str(mine)], "seeds": 1}}
    values["training"] |= {"steps": 2}
    said(tmp_path, values, "run")
    mine.unlink()
    values["reference"] = {"reuse": str(tmp_path / "gone")}
    assert "done" in said(tmp_path, values)
    said(tmp_path, values, "run")


def test_what_a_prepared_corpus_shows_is_refused_by_both(tmp_path: Path, values: dict[str, Any]) -> None:
    said(tmp_path, values, "prepare")
    for change in ({"data": {"sequence_length": 10**6}}, {"budget_tokens": 10**9, "limits": {"max_epochs": 2}}):
        told = []
        for words in ((), ("run",)):
            with pytest.raises(DoremiError) as caught:
                said(tmp_path, changed(values, change), *words)
            told.append(str(caught.value))
        assert told[0] == told[1]


def test_what_only_an_estimate_shows_is_told(tmp_path: Path, values: dict[str, Any]) -> None:
    for change, says in (
        ({"data": {"sequence_length": 10**6}}, "training tokens; one sequence needs 1,000,001"),
        ({"data": {"validation_max_tokens": 1}}, "no piece of 64 characters fits into half of it"),
        (
            {"data": {"epoch_matched": True}, "budget_tokens": 10**9},
            "which is under one batch (8 sequences of 16 tokens)",
        ),
    ):
        text = said(tmp_path, changed(values, change))
        warning = next(line for line in text.splitlines() if line.startswith("warning: by these estimates"))
        assert says in warning
