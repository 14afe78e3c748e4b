"""The targets of test_fuzz.py under atheris, which keeps whatever input reaches new lines; slow, and only where it is.

Each target has a process of its own: atheris ends the process that it runs in, and rewrites what it imports.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 15
NAMES = [
    *["config", "override", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".txt"],
    *["mixture", "json", "run", "training", "checkpoint"],
]

PROGRAM = """
import sys
from pathlib import Path
import atheris
sys.path.insert(0, {tests!r})
with atheris.instrument_imports(include=["doremi", "yaml"]):
    from fuzz_targets import TARGETS
atheris.Setup([sys.argv[0], *sys.argv[3:]], lambda data: TARGETS[sys.argv[1]](Path(sys.argv[2]), data))
atheris.Fuzz()
"""


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed (pip install atheris)")
@pytest.mark.parametrize("name", NAMES)
def test_only_errors_of_ours_come_out_of_what_coverage_finds(name: str, tmp_path: Path) -> None:
    from test_fuzz import FOUND, SOUND

    seeds = [*SOUND.get(name, []), *(data for target, data in FOUND if target == name and len(data) < 4096)]
    for folder in ("seeds", "work"):
        (tmp_path / folder).mkdir()
    for i, data in enumerate(seeds):
        (tmp_path / "seeds" / str(i)).write_bytes(data)
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    options = [f"-max_total_time={SECONDS}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=4096", "-seed=1"]
    command = [sys.executable, "-c", program, name, str(tmp_path / "work"), *options, str(tmp_path / "seeds")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ}, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    assert "DONE" in ended.stderr
