"""The house keeps its shape: who imports whom, what needs no torch, how long files are, what the map says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import doremi

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "doremi"
MODULES = sorted(SOURCE.rglob("*.py"))

# A module may import from its own layer and those before it; a folder stands for all that is in it.
LAYERS = [
    ["errors", "domains", "manifest", "files", "streams", "lock"],
    [
        "heuristics",
        "projection",
        "dro",
        "dro_variants",
        "corpus.sampler",
        "runs",
        "config",
        "published",
        "settled",
        "health",
    ],
    ["corpus", "architecture", "attention", "head", "model", "distributed", "mixtures", "memory", "data_request"],
    ["checkpoint", "reference_losses", "operations"],
    ["evaluation", "training_log", "train"],
    ["verdict", "report", "export"],
    ["overview", "start", "display"],
    ["binding", "workspace"],
    ["uncertainty"],
    ["jobs", "stages"],
    ["rounds", "downstream"],
    ["equal_compute"],
    ["tournament", "plan"],
    ["cli", "__main__", "__init__"],
]
READ_ONLY = {
    "domains",
    "heuristics",
    "runs",
    "files",
    "errors",
    "health",
    "settled",
    "corpus.source_record",
}  # all that verdict, report and export may know


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path: Path, *, deferred: bool) -> set[str]:
    """Names of our modules that a file imports, at the top or (`deferred`) anywhere."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if deferred else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "doremi":
            inside = node.module.partition(".")[2] if node.module else ""
            found |= {inside} if inside else {alias.name for alias in node.names}
    return {name for name in found if name and not name.startswith("_")}


def layer(name: str) -> int:
    """Layer of a module: that of its longest listed prefix."""
    ranked = {entry: number for number, entries in enumerate(LAYERS) for entry in entries}
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in ranked:
            return ranked[".".join(parts[:length])]
    raise AssertionError(f"{name} has no place in the house: add it to LAYERS")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    upwards = [other for other in imports_of(path, deferred=False) if layer(other) > layer(name_of(path))]
    assert upwards == []


@pytest.mark.parametrize("package", ["verdict", "report", "export"])
def test_readers_of_run_directories_know_little(package: str) -> None:
    known = {n for p in MODULES if name_of(p).split(".")[0] == package for n in imports_of(p, deferred=True)}
    assert {name for name in known if name.split(".")[0] != package} <= READ_ONLY


def test_torch_distributed_is_in_one_file() -> None:
    using = [name_of(p) for p in MODULES if re.search(r"^\s*(import|from) torch\.distributed", p.read_text(), re.M)]
    assert using == ["distributed"]


def test_light_modules_do_not_import_torch() -> None:
    """One fresh interpreter: the public package, the command line and all that works on a laptop."""
    light = "doremi doremi.cli doremi.config doremi.verdict doremi.report doremi.export doremi.heuristics doremi.runs "
    light += "doremi.mixtures doremi.start doremi.overview doremi.corpus.prepare doremi.corpus.loader doremi.display"
    light += " doremi.projection doremi.health"
    code = f"import importlib, sys\nfor m in {light.split()!r}: importlib.import_module(m)\n"
    code += "print([m for m in ('torch', 'transformers', 'matplotlib', 'pyarrow') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_file_is_long() -> None:
    assert [name_of(p) for p in MODULES if p.read_text().count("\n") > 400] == []


def test_public_names_are_those_listed() -> None:
    assert {name for name in doremi.__all__ if not hasattr(doremi, name)} == set()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = doremi.nonsense


def test_the_map_is_the_real_tree() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("src/doremi/\n")[2].partition("```")[0]
    names = " ".join(line.strip().partition("  ")[0] for line in tree.splitlines())
    listed = set(re.findall(r"\w+(?:\.py|/)", names))
    real = {p.name for p in SOURCE.glob("*.py") if not p.name.startswith("__")}
    real |= {f"{p.name}/" for p in SOURCE.iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert real - listed <= {"data/"}
    assert listed <= real


def test_command_line_has_these_options_only() -> None:
    """A new option is a decision: one YAML file describes a run, `--set` overrides it."""
    source = (SOURCE / "cli.py").read_text()
    assert set(re.findall(r'"(--[a-z-]+)"', source)) == {
        "--set", "--dry-run", "--final-size", "--mixture", "--to", "--out", "--force", "--help", "--version",
    }  # fmt: skip


def test_every_algorithm_key_is_in_the_table() -> None:
    from doremi.config import ProxyConfig

    page = (ROOT / "docs" / "algorithm.md").read_text()
    assert [key for key in ProxyConfig.model_fields if f"proxy.{key}" not in page] == []


def test_changelog_names_this_version() -> None:
    assert f"## {doremi.__version__}" in (ROOT / "CHANGELOG.md").read_text()
