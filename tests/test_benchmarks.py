"""Benchmarks: others.py runs what needs nothing of others, on the same model; `make bench` prints all that is due."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from doremi.model.build import build
from doremi.model.presets import PRESETS, shape
from tolerances import FLOAT32

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def contestants(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of benchmarks/contestants, which are programs and not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS / "contestants"))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


def test_everyone_trains_the_preset(contestants: Any) -> None:
    preset = {key: value for key, value in PRESETS["1m"].items() if key != "architecture"}
    assert preset.items() <= contestants("pace").SHAPE.items()


def test_the_stand_in_model_is_the_same_model(contestants: Any) -> None:
    pace, llama = contestants("pace"), contestants("llama")
    theirs = build(shape("1m", None, {}), pace.VOCAB, pace.LENGTH, 0)
    stand_in = llama.Llama(pace.SHAPE)
    stand_in.load_state_dict({k.replace("model.", "transformer.", 1): v for k, v in theirs.state_dict().items()})
    input_BT = torch.from_numpy(pace.tokens()[:2])
    with torch.no_grad():
        torch.testing.assert_close(stand_in(input_BT), theirs(input_ids=input_BT).logits, rtol=0, atol=FLOAT32)


REQUIRED = {  # by the goals for speed: each is printed by `make bench`
    "dro_step_stored_over_plain", "dro_step_live_over_plain", "plain_step_over_bare_loop", "outside_share_of_step",
    "loader_tokens_per_second_per_core", "loader_segments_over_file", "prepare_over_tokenizers",
    "prepare_scaling_two_cores", "help_seconds",
}  # fmt: skip


def figures_of(program: str) -> set[str]:
    """Names of figures in a program's source; a name put together is a pattern whose parts are matched by anything."""
    tree = ast.parse((BENCHMARKS / program).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(re.escape(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(p.value) if isinstance(p, ast.Constant) else "[a-z_0-9]+" for p in node.values]
            names.add("".join(parts))
    return names


def test_make_bench_prints_every_figure_that_is_due(contestants: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    programs = [program for program, *_ in contestants("run").PROGRAMS]
    assert all((BENCHMARKS / program).is_file() for program in programs)
    patterns = [pattern for program in programs for pattern in figures_of(program) if pattern[:1].isalpha()]
    assert {name for name in REQUIRED if not any(re.fullmatch(pattern, name) for pattern in patterns)} == set()


@pytest.mark.parametrize(("codes", "expected"), [((0, 0), 0), ((0, -9), 1), ((-9, 0), 1), ((2, 0), 1)])
def test_a_program_that_fails_or_is_killed_is_not_hidden(
    codes: tuple[int, int], expected: int, contestants: Any, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bench, left = contestants("run"), list(codes)
    monkeypatch.setattr(bench, "PROGRAMS", (["one.py"], ["other.py", "--option"]))
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], left.pop(0)))
    assert bench.main() == expected
    printed = capsys.readouterr().out
    assert printed.count("FAILED") == sum(code != 0 for code in codes)
    assert "== in all: 0.0 min" in printed


def run(*options: str) -> tuple[dict[str, dict[str, Any]], str]:
    command = [sys.executable, str(BENCHMARKS / "others.py"), "--eager", "--rounds", "2", "--steps", "1", *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return {line["figure"]: line for line in lines}, result.stdout


@pytest.mark.slow
def test_ours_and_the_floor_step_in_turns() -> None:
    found, _ = run("--only", "bare,plain,live,stored")
    assert all(found[f"same_{name}"]["value"] > 0 for name in ("bare", "plain", "live", "stored"))
    assert found["same_live_over_stored"]["unit"] == "ratio"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="Hugging Face's Trainer needs accelerate")
def test_hugging_face_trainer_steps_in_turns() -> None:
    found, _ = run("--only", "bare,trainer")
    assert found["same_trainer_over_bare"]["value"] > 0


@pytest.mark.slow
def test_who_cannot_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    found, printed = run("--only", "bare,official,dataflex", "--official", str(tmp_path))
    assert set(found) == {"same_bare", "best_bare"}
    reasons = [line for line in printed.splitlines() if line.startswith("not run: ")]
    assert [reason.split(": ")[1] for reason in reasons] == ["dataflex eager", "official eager"]
    assert "dataflex" in reasons[0].split(": ", 2)[2]
