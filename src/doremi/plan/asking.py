"""Questions to a process of its own, so that its peak memory is its own: JSON in on standard input, JSON out.

Nothing heavy is imported here: preparation.py says why.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from doremi import errors
from doremi.errors import DoremiError, TrainingError


def ask(module: str, request: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The answer of `python -m doremi.plan.<module>`; our errors are raised here, `TrainingError` if it dies."""
    command = [sys.executable, "-m", f"doremi.plan.{module}"]
    done = subprocess.run(
        command, input=json.dumps({**request, "began": time.time()}), capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    try:
        answer = json.loads(lines[-1]) if done.returncode == 0 else {}
    except (IndexError, ValueError):
        answer = {}
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    if not answer:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TrainingError(f"{what} cannot be tried on this device ({errors.one_line(reason)[:200]})")
    return answer


def serve(answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Answer the request on standard input; what a user did wrong is an answer too."""
    try:
        found = answer(json.load(sys.stdin))
    except DoremiError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(found))
