"""Step 2: the card against the CPU from one reference file, a repeat, and a stop with resume, in float32.

The reference is trained on the CPU, and proxies on the CPU and on the card read that very file. A card's trainings
have keys of their own, so its runs are planned first, and the file is put where they look for their reference.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

from card.commands import Command, Place, finished, run
from card.notes import Notes

READING = Path(__file__).with_name("reading.py")
DETERMINISTIC = Path(__file__).with_name("deterministic")
STEPS, STOP_AT = 60, 6
"""Of a training, and after how many it is asked to stop."""
COMPARING_SECONDS = 15.0
CPU_THREADS = 16

EXACT, LOOSE = ("one", "two", "stopped"), ("loose", "loose-too")
"""Proxies on the card: with deterministic kernels, and as it is without."""


def configuration(place: Place, name: str, *, tiny: bool, setting: bool) -> Path:
    """A run of one reference and one proxy; `setting`: whether the package has training.deterministic."""
    threads = 1 if tiny else (CPU_THREADS if name == "cpu" else 2)
    training: dict[str, object] = {
        "steps": 20 if tiny else STEPS, "batch_size": 24, "learning_rate": 0.003, "precision": "float32",
        "compile": False, "threads": threads, "log_every": 1, "evaluate_every": 10**6, "checkpoint_every": 25,
    }  # fmt: skip
    if setting:
        training["deterministic"] = name not in LOOSE
    runs = place.work / "right"
    values = {
        "name": name, "runs": str(runs), "workers": 1, "training": training,
        "data": {"corpus": str(place.corpus), "sequence_length": 32 if tiny else 128},
        "model": {"preset": "0.1m" if tiny else "0.3m"},
        "reference": {"mixture": "natural", "losses": "live"}, "proxy": {"seeds": 1},
        "candidates": {"mixtures": ["natural"], "seeds": 1},
    }  # fmt: skip
    path = place.work / f"right-{name}.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")  # which is YAML, too
    return path


def right(notes: Notes, place: Place, seconds: float, *, tiny: bool) -> None:
    """Step 2."""
    deadline = time.monotonic() + seconds
    setting = has_setting(place)
    paths = {name: configuration(place, name, tiny=tiny, setting=setting) for name in ("cpu", *EXACT, *LOOSE)}
    words = {name: ["-m", "doremi", "proxy", str(path)] for name, path in paths.items()}
    exact, plain = (place.environment() if setting else told_from_outside(place)), place.environment()
    on_card = {name: exact if name in EXACT else plain for name in (*EXACT, *LOOSE)}
    planned = [
        begun(notes, f"plan {name}", ["-m", "doremi", "prepare", str(paths[name])], environment)
        for name, environment in on_card.items()
    ]
    if not run(notes, "cpu", words["cpu"], place.environment(CUDA_VISIBLE_DEVICES=""), 0.6 * seconds):
        return
    if len(finished(notes, planned, deadline)) < len(planned):
        return
    for name in on_card:
        lend(place.work / "right" / "cpu", place.work / "right" / name)
    commands = {name: begun(notes, name, words[name], environment) for name, environment in on_card.items()}
    stopped = commands.pop("stopped")
    was = stop(stopped, place.work / "right" / "stopped", deadline)
    notes.say(f"stopped: asked to stop after {was} steps; exit code {stopped.process.returncode}")
    rest = begun(notes, "resumed", words["stopped"], exact)
    well = finished(notes, [*commands.values(), rest], deadline - COMPARING_SECONDS)
    there = [name for name in EXACT + LOOSE if name in well or (name == "stopped" and "resumed" in well)]
    how = "training.deterministic" if setting else "torch.use_deterministic_algorithms"
    run(notes, "compare", [str(READING), "compare", str(place.work / "right"), how, *there], plain, COMPARING_SECONDS)


def begun(notes: Notes, name: str, words: list[str], environment: dict[str, str]) -> Command:
    return Command(name, words, environment, lambda line: notes.say(f"{name} | {line}"))


def lend(owner: Path, borrower: Path) -> None:
    """Copy the reference of a run to where another looks for its own, under the key that it has there."""
    mine, theirs = reference_node(owner), reference_node(borrower)
    target = borrower / theirs["place"]
    shutil.copytree(owner / mine["place"], target)
    stage = json.loads((target / "stage.json").read_text(encoding="utf-8"))
    (target / "stage.json").write_text(json.dumps({**stage, "key": theirs["key"]}), encoding="utf-8")


def reference_node(run_folder: Path) -> dict[str, str]:
    nodes = json.loads((run_folder / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    return next(node for node in nodes if node["role"] == "reference")


def has_setting(place: Place) -> bool:
    files = (place.tree / "src" / "doremi" / "config").glob("*.py")
    return any("    deterministic:" in path.read_text(encoding="utf-8") for path in files)


def told_from_outside(place: Place) -> dict[str, str]:
    """For Python to load deterministic/sitecustomize.py in every process."""
    environment = place.environment(CUBLAS_WORKSPACE_CONFIG=":4096:8")
    return {**environment, "PYTHONPATH": os.pathsep.join([str(DETERMINISTIC), environment["PYTHONPATH"]])}


def stop(command: Command, run_folder: Path, deadline: float) -> int:
    """SIGTERM after some steps; the steps made by then."""
    while command.process.poll() is None and time.monotonic() < deadline:
        made = steps_made(run_folder)
        if made >= STOP_AT:
            os.kill(command.process.pid, signal.SIGTERM)
            command.wait(deadline - time.monotonic())
            return made
        time.sleep(0.005)
    return steps_made(run_folder)


def steps_made(run_folder: Path) -> int:
    """Of the training that is not finished yet."""
    for path in run_folder.glob("trainings/*/metrics.jsonl"):
        if not path.with_name("stage.json").exists():
            return path.read_text(encoding="utf-8").count('"train"')
    return 0
