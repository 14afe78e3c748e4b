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

# A package may import from those before it and from itself, also inside functions.
ORDER = (
    "credentials", "errors", "files", "lent", "events", "distributed", "statistics", "mixture", "model", "diagnostics",
    "corpus", "drawing", "config", "rundir", "objectives", "methods", "evaluation", "training", "trackers", "verdict",
    "report", "export", "pipeline", "plan", "executors", "cli", "__main__", "__init__",
)  # fmt: skip
READ_ONLY = {
    "credentials",
    "errors",
    "files",
    "lent",
    "events",
    "statistics",
    "mixture",
    "diagnostics",
    "corpus",
    "drawing",
    "config",
    "rundir",
}
"""All that verdict, report and export may know, and the last two the verdict; none of it needs torch."""


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of ours that a file imports, at the top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "doremi":
            inside = node.module.partition(".")[2] if node.module else ""
            names = [f"{inside}.{alias.name}".strip(".") for alias in node.names]
            found |= {name if name in KNOWN else inside for name in names}
    return {name for name in found if name}


def package(name: str) -> str:
    return name.split(".")[0]


KNOWN = {name_of(path): path for path in MODULES}
ARROWS = {name: imports_of(path) for name, path in KNOWN.items()}


@pytest.mark.parametrize("name", KNOWN)
def test_imports_go_one_way(name: str) -> None:
    own = ORDER.index(package(name))
    assert [
        other for other in ARROWS[name] if package(name) != package(other) and ORDER.index(package(other)) > own
    ] == []


def test_there_is_no_circle_of_modules() -> None:
    """Also none through imports inside functions, and none inside a package."""
    left = {name: {other for other in others if other != name} for name, others in ARROWS.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


@pytest.mark.parametrize("reader", ["verdict", "report", "export"])
def test_readers_of_run_directories_know_little(reader: str) -> None:
    known = {package(other) for name, others in ARROWS.items() if package(name) == reader for other in others}
    assert known - {reader} <= READ_ONLY | ({"verdict"} if reader != "verdict" else set())


def test_torch_distributed_is_in_one_package() -> None:
    using = [name_of(p) for p in MODULES if re.search(r"^\s*(import|from) torch\.distributed", p.read_text(), re.M)]
    assert {name.split(".")[0] for name in using} == {"distributed"}


def test_light_modules_do_not_import_torch() -> None:
    """One fresh interpreter: the public package, the command line and all that works on a laptop."""
    light = " ".join((
        "doremi doremi.cli.commands doremi.cli.init doremi.cli.status doremi.cli.display doremi.config doremi.verdict",
        "doremi.report doremi.export doremi.mixture.plain doremi.mixture.limits doremi.rundir.layout",
        "doremi.rundir.weights doremi.events.stream doremi.events.words doremi.corpus.prepare doremi.corpus.loader",
        "doremi.diagnostics.health doremi.executors.slurm doremi.statistics.judge",
    ))  # fmt: skip
    code = f"import importlib, sys\nfor m in {light.split()!r}: importlib.import_module(m)\n"
    code += "print([m for m in ('torch', 'transformers', 'matplotlib', 'pyarrow') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_command_line_waits_for_what_is_heavy() -> None:
    """Whoever asks for help, or presses Ctrl-C, does not wait for libraries that the command may not need."""
    code = "import sys, doremi.cli.commands; print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
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
    source = "".join(path.read_text() for path in sorted((SOURCE / "cli").glob("*.py")))
    assert set(re.findall(r'"(--[a-z-]+)"', source)) == {
        "--set", "--dry-run", "--final-size", "--mixture", "--to", "--out", "--force", "--help", "--version",
        "--remove", "--sbatch", "--gpu", "--after", "--sizes", "--budget", "--paths", "--path", "--schedule", "--name",
        "--from", "--unit", "--until", "--tokens", "--profile", "--full", "--jobs", "--measure",
    }  # fmt: skip


def test_every_algorithm_key_is_in_the_table() -> None:
    from doremi.config import ProxyConfig

    page = (ROOT / "docs" / "algorithm.md").read_text()
    assert [key for key in ProxyConfig.model_fields if f"proxy.{key}" not in page] == []


def test_changelog_names_this_version() -> None:
    assert f"## {doremi.__version__}" in (ROOT / "CHANGELOG.md").read_text()
