"""`make bench`: every benchmark that runs on a CPU, one after the other."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = (
    ["startup.py"],
    ["loader.py"],
    ["readers.py"],
    ["steps.py", "--compile", "--steps", "12"],
    ["step_profile.py", "--steps", "3"],
    ["others.py", "--only", "bare,plain,live,stored", "--eager", "--rounds", "3", "--steps", "2"],
    ["choices.py", "--steps", "2"],
    ["prepare.py", "--rounds", "3"],
    ["reference_store.py", "--rounds", "5"],
    ["growth.py"],
    ["losses.py", "--vocabularies", "8192", "50304"],
)


def main() -> int:
    """1 if a program failed or was killed (whose code is negative), else 0."""
    here, began = Path(__file__).resolve().parent, time.monotonic()
    codes = []
    for program, *arguments in PROGRAMS:
        print(f"== {program}", flush=True)
        start = time.monotonic()
        codes.append(subprocess.run([sys.executable, str(here / program), *arguments], check=False).returncode)
        ended = "" if codes[-1] == 0 else f", FAILED with code {codes[-1]}"
        print(f"== {program}: {time.monotonic() - start:.0f} s{ended}", flush=True)
    print(f"== in all: {(time.monotonic() - began) / 60:.1f} min")
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
