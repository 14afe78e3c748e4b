"""What init suggests: a model and steps that belong together, as far as text and time allow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from doremi.cli.commands import app
from doremi.cli.suggestion import HOURS, MOST_PASSES, PASSES, Given, Suggestion, suggest
from doremi.config import load
from doremi.corpus.bpe import train_bpe
from doremi.corpus.tokenizer import END_OF_TEXT, TextTokenizer
from doremi.diagnostics.few_tokens import few_tokens
from doremi.model.build import build, count_parameters
from doremi.model.presets import PRESETS, body_parameters, shape
from doremi.rundir.peak_rate import peak_rate
from tiny import write_corpus


@pytest.mark.parametrize("preset", ["0.1m", "1m"])
def test_parameters_by_arithmetic_are_those_of_the_model(preset: str) -> None:
    with torch.device("meta"):
        body, parameters = count_parameters(build(shape(preset, None, {}), 8192, 16, 0))
    assert body_parameters(preset) == body
    assert parameters == body + 8192 * PRESETS[preset]["hidden_size"]


@pytest.mark.parametrize(
    ("text", "cores", "preset"),
    [(10**6, 2, "0.1m"), (10**7, 2, "0.3m"), (10**9, 2, "0.3m"), (10**7, 16, "1m"), (10**9, 1024, "10m")],
)
def test_the_largest_model_that_text_and_time_allow(text: int, cores: int, preset: str) -> None:
    made = suggest(9, Given(text, cores))
    assert made.preset == preset
    assert made.tokens / made.body == pytest.approx(20, rel=0.01)
    assert made.hours <= HOURS
    assert made.passes <= PASSES
    assert "These are 20 a body parameter" in made.words()
    assert "too little" not in made.words()


def test_where_text_is_short_that_is_said() -> None:
    made = suggest(2, Given(60_000, 2))
    assert made.preset == "0.1m"
    assert made.passes == pytest.approx(MOST_PASSES, rel=0.05)
    assert "There is too little text for the usual 20 tokens a body parameter." in made.words()


def test_far_below_the_usual_tokens_is_a_warning_with_its_number() -> None:
    assert few_tokens("0.3m", 20 * 332_448, 332_448) is None
    assert few_tokens("0.3m", 10 * 332_448, 332_448) is None
    said = few_tokens("0.3m", 691_200, 332_448)
    assert said is not None
    assert said.startswith("Models of size 0.3m train on 2.1 tokens a body parameter, and 20 are usual.")


def test_init_says_and_writes_what_it_suggests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doremi.cli.init.worker_count", lambda workers: 2)
    for name in ("a", "b"):
        (tmp_path / "text" / name).mkdir(parents=True)
        (tmp_path / "text" / name / "1.txt").write_text("some words and some more " * 80_000)
    config = tmp_path / "my.yaml"
    said = CliRunner().invoke(app, ["init", str(config), str(tmp_path / "text")], catch_exceptions=False).stdout
    written = yaml.safe_load(config.read_text())
    assert (written["model"]["preset"], written["training"]["steps"]) == ("0.1m", 246)
    assert "model 0.1m: 100,672 body parameters, 624,960 with embeddings" in said
    assert "each training: 246 steps, 2,015,232 tokens. These are 20 a body parameter and 1.8 passes" in said
    assert "the whole run: at most about 51 min on these 2 cores. `doremi plan` measures it." in said


@pytest.mark.parametrize(
    ("preset", "rate", "warmup", "schedule"),
    [("0.1m", 0.014, 0.5, "linear"), ("3m", 0.00175, 0.5, "linear"), ("10m", 0.003, 0.06, "exponential")],
)
def test_init_writes_the_recipe_that_was_measured_for_small_models(
    preset: str, rate: float, warmup: float, schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggested = Suggestion(preset, 1, 2, 300, 32, 1.0, 1.0, 2)
    monkeypatch.setattr("doremi.cli.init.suggest", lambda domains, given: suggested)
    path = tmp_path / "my.yaml"
    words = ["init", str(path), str(write_corpus(tmp_path / "text"))]
    CliRunner().invoke(app, words, catch_exceptions=False)
    config = load(path)
    made = (peak_rate(config), config.training.warmup, config.training.schedule)
    assert made == (rate, warmup, schedule)


def test_parameters_are_those_at_the_vocabulary_of_the_tokenizer_that_is_named(tmp_path: Path) -> None:
    backend = train_bpe(iter(["one two three four"] * 20), 270, END_OF_TEXT, lambda step, share: None, lambda: False)
    tokenizer = TextTokenizer(backend, "trained")
    tokenizer.save(tmp_path / "tokenizer")
    corpus = write_corpus(tmp_path / "text")
    words = ["init", str(tmp_path / "my.yaml"), str(corpus), "--tokenizer", str(tmp_path / "tokenizer")]
    said = CliRunner().invoke(app, words).output
    body = body_parameters("0.1m")
    assert f"{body:,} body parameters, {body + tokenizer.vocab_size * 64:,} with embeddings" in said
