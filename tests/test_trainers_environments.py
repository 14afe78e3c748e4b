"""tools/trainers/run.py: a trainer's repository is fetched at its commit, and no half of one stays behind."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of the tool, with a folder of its own, and repositories of this machine for those on GitHub."""
    settings = {f"url.file://{tmp_path}/.insteadOf": "https://github.com/", "protocol.file.allow": "always"}
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    for i, (key, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{i}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{i}", value)
    names = runpy.run_path(str(ROOT / "tools" / "trainers" / "run.py"))
    names["install"].__globals__["ROOT"] = tmp_path / "here"
    return names


def test_a_repository_at_its_commit(tool: dict[str, Any], tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path / "owner" / "name"), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "owner" / "name").mkdir(parents=True)
    subprocess.run([*git, "init", "--quiet"], check=True)
    for text in ("first", "second"):
        (tmp_path / "owner" / "name" / "code.py").write_text(text, encoding="utf-8")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", text], check=True)
    first = subprocess.run([*git, "rev-parse", "HEAD~1"], check=True, capture_output=True, text=True).stdout.strip()
    tool["TRAINERS"]["one"] = tool["Trainer"]("owner/name", (), "", commit=first)
    tool["TRAINERS"]["none"] = tool["Trainer"]("owner/name", (), "", commit="0" * 40)
    tool["install"]("one")
    assert (tool["folder_of"]("one") / "code.py").read_text(encoding="utf-8") == "first"
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            tool["install"]("none")
        assert not tool["folder_of"]("none").exists()
