"""Step 4: a proxy of 0.3M parameters chooses for main models of 10M, thirty times as large.

One `doremi run` with the packed corpus does it. Its driver takes what the longest way waits for first, which is
reference and proxy, and of main models the earlier seeds. So a cut leaves whole seeds, and what is whole is judged.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from card.commands import Command, Place, run, tell_failure
from card.notes import Notes
from card.refused import Refused, done
from card.right import READING

ROWS, LENGTH = 132, 256
LEAST_TOKENS, MOST_TOKENS = 20_000_000, 40_000_000  # of a main model: 2 and 4 for each parameter of its body
MIXTURES, SEEDS, AT_ONCE = ("doremi", "natural", "uniform"), 3, 3
OVERHEAD_SECONDS = 135.0  # start, what a repeat costs, the compiler's warm-ups, reference, stored losses and proxy
CAREFUL = 0.75  # of the measured rate: evaluations, checkpoints, and several trainings on one card
CLOSING_SECONDS = 45.0  # to stop what goes on, judge what is whole, and read it
LARGEST = 12 * 2**20  # bytes of a file that is brought back
NOT_BACK = ("checkpoint", "corpus", "losses", "model")


def main_tokens(seconds: float, rate: float | None) -> int:
    """Tokens of each main model for which all seeds end in time, at least the least."""
    if not rate:
        return LEAST_TOKENS
    possible = (seconds - CLOSING_SECONDS - OVERHEAD_SECONDS) * CAREFUL * rate / (SEEDS * len(MIXTURES))
    return int(min(MOST_TOKENS, max(LEAST_TOKENS, possible)))


def configuration(place: Place, tokens: int, *, tiny: bool) -> Path:
    rows, length = (12, 32) if tiny else (ROWS, LENGTH)
    steps = 10 if tiny else tokens // (rows * length)
    main = "0.1m" if tiny else "10m"
    training = {
        "steps": steps, "batch_size": rows, "learning_rate": 0.008, "learning_rates": {main: 0.003},
        "warmup": 0.1, "threads": 1 if tiny else "auto",
        "precision": "float32" if tiny else "bfloat16", "compile": not tiny,
        "evaluate_every": max(1, steps // 3), "checkpoint_every": steps,
    }  # fmt: skip
    values = {
        "name": "card", "runs": str(place.work / "study"), "workers": 1 if tiny else AT_ONCE, "training": training,
        "data": {"corpus": str(place.corpus), "sequence_length": length},
        "model": {"preset": "0.1m" if tiny else "0.3m"},
        "reference": {"mixture": "natural", "losses": "stored"}, "proxy": {"seeds": 1},
        "candidates": {"mixtures": list(MIXTURES), "sizes": [main], "seeds": SEEDS},
    }  # fmt: skip
    path = place.work / "study.yaml"
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return path


def thirty(notes: Notes, place: Place, out: Path, seconds: float, *, tiny: bool, rate: float | None) -> None:
    """The study within its time; study.txt has what `doremi run` ended with, study.tar.gz the run without models."""
    deadline = time.monotonic() + seconds
    tokens = main_tokens(seconds, rate)
    path = configuration(place, tokens, tiny=tiny)
    notes.say(f"study: {tokens:,} tokens a main model, at {rate or 0:,.0f} tokens/s (0: not known)")
    root = place.work / "study" / "card"
    try:
        run_and_judge(notes, place, out, root, ["-m", "doremi", "run", str(path)], deadline)
    finally:  # also where somebody has cut it
        bring_back(root, path, out)


def run_and_judge(
    notes: Notes, place: Place, out: Path, root: Path, words: Sequence[str], deadline: float
) -> None:  # fmt: skip
    """The run until its time is over, then what its whole seeds say."""
    shown: list[str] = []
    command = Command("study", words, place.environment(), lambda line: told(notes, shown, line))
    try:
        code = command.wait(deadline - CLOSING_SECONDS - time.monotonic())
    except BaseException:
        command.end()  # so that its files stay as they are
        raise
    if code is None:
        notes.say("study: its time is over; it is asked to stop")
        os.kill(command.process.pid, signal.SIGTERM)
        command.wait(20)
        command.end()
    elif code:
        tell_failure(notes, command, f"exit code {code}")
    if code != 0:
        shown = judged(notes, place, root, words, deadline)
    if shown:
        (out / "study.txt").write_text("\n".join(shown) + "\n", encoding="utf-8")
    run(notes, "read", [str(READING), "study", str(root)], place.environment(), 10 + deadline - time.monotonic())


def told(notes: Notes, shown: list[str], line: str) -> None:
    """Lines with a time of day are progress, the last says where the page is, the others are the result."""
    notes.say(f"study | {line}")
    if not (line[:2].isdigit() and line[2:3] == ":") and not line.startswith("report: "):
        shown.append(line)


def judged(notes: Notes, place: Place, root: Path, words: Sequence[str], deadline: float) -> list[str]:
    """What the program says of the whole seeds of a run that was cut: fewer than three give no verdict."""
    asked = [sys.executable, str(READING), "whole", str(root)]
    try:
        whole = json.loads(done("whole seeds", asked, env=place.environment(), timeout=60).splitlines()[-1])
    except Refused as error:
        notes.say(f"not known: how many seeds are whole: {error}")
        return []
    notes.figure(whole)
    if not whole["value"]:
        return []
    shown: list[str] = []
    fewer = [*words, "--set", f"candidates.seeds={int(whole['value'])}"]
    command = Command("judge", fewer, place.environment(), lambda line: told(notes, shown, line))
    if command.wait(max(20.0, deadline - time.monotonic() - 10)) != 0:
        command.end()
        tell_failure(notes, command, "the whole seeds could not be judged")
        return []
    return shown


def bring_back(root: Path, configured: Path, out: Path) -> None:
    """The run directory without tokens, losses, weights and states of optimisers."""
    with tarfile.open(out / "study.tar.gz", "w:gz") as archive:
        archive.add(configured, "study.yaml")
        for file in sorted(root.rglob("*")) if root.exists() else []:
            inside = file.relative_to(root)
            if file.is_file() and not set(inside.parts) & set(NOT_BACK) and file.stat().st_size < LARGEST:
                archive.add(file, str(Path("run") / inside))
