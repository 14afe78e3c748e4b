"""The examples run, in small."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_loop_puts_the_learnable_domain_first() -> None:
    weights = load("own_loop").main()
    assert max(weights, key=weights.__getitem__) == "counting"
    assert sum(weights.values()) == pytest.approx(1)


def test_demo_finds_six_domains_on_this_machine(tmp_path: Path) -> None:
    demo = load("demo")
    sizes = {name: demo.write_domain(tmp_path / name, texts(), demo.FEWEST) for name, texts in demo.DOMAINS.items()}
    assert sum(size >= demo.FEWEST for size in sizes.values()) >= 6
    lines = (tmp_path / "python_library" / "text.jsonl").read_text().splitlines()
    assert all(len(json.loads(line)["text"]) >= 200 for line in lines)
