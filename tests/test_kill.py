"""kill.py: killed runs end in the same bytes, and a save that is not atomic would be noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().with_name("kill.py")


def figure(*options: str) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, str(PROGRAM), "--kills", "10", *options],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], ["--background"]])
def test_killed_runs_end_in_the_same_bytes(how: list[str]) -> None:
    found = figure(*how)
    assert found["figure"] == "kills_bit_identical"
    assert found["value"] == found["of"]
    assert int(str(found["of"])) >= 10


@pytest.mark.slow
def test_saving_in_place_is_noticed() -> None:
    found = figure("--non-atomic")
    assert int(str(found["value"])) < int(str(found["of"]))
