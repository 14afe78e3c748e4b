"""`make bench`: every benchmark that runs on a CPU, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAMS = (
    ["startup.py"],
    ["loader.py"],
    ["readers.py"],
    ["steps.py", "--compile", "--steps", "12"],
    ["prepare.py", "--rounds", "3"],
    ["growth.py"],
    ["losses.py", "--vocabularies", "8192", "50304"],
)


def main() -> int:
    here = Path(__file__).resolve().parent
    codes = []
    for program, *arguments in PROGRAMS:
        print(f"== {program}", flush=True)
        codes.append(subprocess.run([sys.executable, str(here / program), *arguments], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
