"""`doremi tune`: five trainings a size, the rate that they show, and one line more in the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from doremi.cli import tune as telling
from doremi.cli.commands import app
from doremi.config import load, validate
from doremi.rundir.layout import RunDirectory
from doremi.rundir.peak_rate import peak_rate
from doremi.rundir.specs import TrainingSpec
from doremi.verdict.rates import Swept
from graphs import config as configured
from graphs import made, values
from tiny import write_corpus, write_tiny

RATES = (0.001, 0.002, 0.004, 0.008, 0.016)


def doremi(*words: str | Path) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    return done.output


# -- what a sweep shows ------------------------------------------------------------------------------------------------


def test_the_rate_is_at_the_bottom_of_a_parabola() -> None:
    """Over the logarithm of the rate: here its bottom is at 0.004 * 2**0.25."""
    bits = [2 + 0.1 * (place - 2.25) ** 2 for place in range(5)]
    one = Swept("1m", RATES, tuple(bits))
    assert one.best == pytest.approx(0.004 * 2**0.25, rel=0.02)
    assert not one.at_an_end


@pytest.mark.parametrize(
    ("bits", "best"),
    [
        ((1.0, 2.0, 3.0, 4.0, 5.0), 0.001),
        ((5.0, 4.0, 3.0, 2.0, 1.0), 0.016),
        ((5.0, 4.0, 3.0, None, None), 0.004),
        ((None, None, 1.0, 2.0, 3.0), 0.004),
    ],
)
def test_a_best_rate_at_an_end_is_said(bits: tuple[float | None, ...], best: float) -> None:
    one = Swept("1m", RATES, bits)
    assert (one.best, one.at_an_end) == (best, True)
    assert "run the same command again" in telling.words([one])


def test_equal_losses_give_the_middle_one() -> None:
    assert Swept("1m", RATES, (2.0, 2.0, 1.0, 1.0, 1.0)).best is not None
    assert Swept("1m", RATES, (2.0, 1.0, 1.0, 1.0, 2.0)).best == pytest.approx(0.004, rel=0.5)


def test_no_training_that_ended_gives_no_rate() -> None:
    assert Swept("1m", RATES, (None,) * 5).best is None


# -- rates by size -----------------------------------------------------------------------------------------------------


def rates(**changes: Any) -> dict[str, float]:
    """Peak learning rates by the role and size of a training."""
    plan = made(configured(**changes))
    specs = {f"{node.role} {node.size}".strip(): node.spec or node.draft for node in plan.nodes}
    return {name: float(spec.settings.learning_rate) for name, spec in specs.items() if isinstance(spec, TrainingSpec)}


def test_each_size_has_its_own_rate() -> None:
    candidates = {"sizes": ["0.1m", "0.3m", "1m"]}
    training = {"learning_rate": 0.01, "learning_rates": {"0.1m": 0.02, "0.3m": 0.03}}
    assert rates(candidates=candidates, training=training) == {
        "reference": 0.02, "proxy": 0.02, "main 0.1m": 0.02, "main 0.3m": 0.03, "main 1m": 0.01,
    }  # fmt: skip


def test_auto_is_the_rule_of_the_width() -> None:
    """0.0076 at a width of 96, and 1.5 times that to the power of 1.5 at 64; a size that has a rate keeps it."""
    training = {"learning_rate": "auto", "learning_rates": {"1m": 0.02}}
    found = rates(candidates={"sizes": ["0.1m", "0.3m", "1m"]}, training=training)
    assert found == {
        "reference": 0.014, "proxy": 0.014, "main 0.1m": 0.014, "main 0.3m": 0.0076, "main 1m": 0.02,
    }  # fmt: skip


@pytest.mark.parametrize("width", [{"n_embd": 64}, {"d_model": 64}, {"hidden_size": 64}])
def test_auto_of_a_family_without_a_preset(width: dict[str, int]) -> None:
    asked = values(training={"learning_rate": "auto"})
    asked["model"] = {"preset": None, "architecture": "gpt2", "options": {"n_layer": 2, **width}}
    assert peak_rate(validate(asked, "test")) == pytest.approx(0.0076 * 1.5**1.5, rel=0.01)


def test_auto_without_a_width_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs")
    model = "{preset: null, architecture: gpt2, options: {n_layer: 2, n_head: 2}}"
    words = ["run", path, "--dry-run", "--set", f"model={model}", "--set", "training.learning_rate=auto"]
    done = CliRunner().invoke(app, [*map(str, words)])
    assert str(done.exception).startswith("training.learning_rate: auto needs the width of the model")


def test_the_rate_of_one_size_is_in_no_key_of_another() -> None:
    def keys(**learning_rates: float) -> dict[str, str]:
        plan = made(configured(candidates={"sizes": ["0.1m", "0.3m"]}, training={"learning_rates": learning_rates}))
        return {node.id: node.spec.key for node in plan.nodes if node.kind == "training" and node.spec}

    plain, changed = keys(), keys(**{"0.3m": 0.03})
    assert {name for name in plain if plain[name] != changed[name]} == {name for name in plain if "0.3m/" in name}


# -- the line in the configuration -------------------------------------------------------------------------------------

WRITTEN = """\
# mine
data: {domains: {a: a, b: b}}
training:   # short
  # of all sizes
  learning_rate: 0.01  # peak
  batch_size: 8
"""


def test_the_line_is_added_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: mine\n" + WRITTEN)
    assert telling.write(path, {"1m": 0.02})
    assert load(path).training.learning_rates == {"1m": 0.02}
    assert telling.write(path, {"1m": 0.005, "3m": 1e-05})
    lines = path.read_text().splitlines()
    assert lines.pop(5) == "  learning_rates: {1m: 0.005, 3m: 1e-05}"
    assert "\n".join(lines) + "\n" == "name: mine\n" + WRITTEN


@pytest.mark.parametrize("training", ["", "training: {batch_size: 8}\n", "training:\n  learning_rates:\n    1m: 0.1\n"])
def test_a_file_that_is_written_in_another_way_stays_as_it_is(training: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("name: mine\ndata: {domains: {a: a, b: b}}\n" + training)
    before = path.read_text()
    said = telling.settle(path, {"1m": 0.02})
    assert said == "Put this below `training:` in the configuration:\n  learning_rates: {1m: 0.02}"
    assert path.read_text() == before


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_trains_five_and_writes_the_best(tmp_path: Path) -> None:
    text = write_corpus(tmp_path / "text")
    config = write_tiny(tmp_path / "tiny.yaml", text, tmp_path / "runs")
    printed = doremi("tune", config)
    run = RunDirectory(tmp_path / "runs/tiny")
    nodes = run.nodes().find("tune")
    losses = {float(n.id.rpartition("-")[2]): run.place(str(n.place)) / "evaluation.json" for n in nodes}
    assert list(losses) == [0.0025, 0.005, 0.01, 0.02, 0.04]
    found = {rate: json.loads(path.read_text())["select"]["mean_bits_per_byte"] for rate, path in losses.items()}
    assert len(set(found.values())) == 5
    for rate, bits in found.items():
        assert f"{rate:g}: {bits:.4f}" in printed
    best = load(config).training.learning_rates["custom"]
    assert f"use {best:g}" in printed
    assert min(found, key=lambda rate: found[rate]) == pytest.approx(best, rel=1)
    assert f"{found[0.01]:.4f}" in (run.root / "report.html").read_text()
    assert "5 of 5 trainings done" in printed  # one of them is the run's own as well
    again = doremi("tune", config, "--set", "training.learning_rates={}")  # nothing is trained twice
    assert again.count("begins") == 0


def test_a_rate_that_is_too_high_is_no_failure_while_others_end_well(tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs")
    printed = doremi("tune", config, "--set", "training.learning_rate=1e5", "--set", "training.steps=4")
    assert "did not end" in printed


def test_sizes_that_are_none_are_refused(tmp_path: Path) -> None:
    config = write_tiny(tmp_path / "tiny.yaml", write_corpus(tmp_path / "text"), tmp_path / "runs")
    done = CliRunner().invoke(app, ["tune", str(config), "--sizes", "0.2m"])
    assert done.exit_code != 0
    assert "--sizes" in str(done.exception)
