"""What ends the program before anything is measured, in one line."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


class Refused(Exception):
    """Something that whoever gave the command can mend. Its text is one line."""


def last_line(text: str) -> str:
    """What a program said last, which mostly is why it failed."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it says nothing")


def done(
    what: str, words: Sequence[str], env: Mapping[str, str] | None = None, timeout: float | None = None
) -> bytes:  # fmt: skip
    """What a program that must end well has printed; `Refused` with its name and what it said last."""
    try:
        ended = subprocess.run(words, capture_output=True, check=False, env=env, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Refused(f"{what}: not done after {timeout:.0f} s") from None
    if ended.returncode:
        said = last_line(ended.stderr.decode(errors="replace") or ended.stdout.decode(errors="replace"))
        raise Refused(f"{what}: {said.removeprefix('error: ')}")
    return ended.stdout
