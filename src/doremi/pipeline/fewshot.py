"""Few-shot tasks asked of a finished model: fewshot.json in its folder, once for a model and its tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doremi.config import DownstreamConfig
from doremi.errors import ConfigError
from doremi.evaluation import fewshot
from doremi.files import read_json
from doremi.pipeline.workspace import Workspace
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.specs import FewshotSpec


def answer(space: Workspace, folder: TrainingFolder, spec: FewshotSpec, name: str) -> None:
    """Ask a finished training's model, if it was not asked the same before."""
    identity = {"key": spec.training, "asked": json.loads(spec.asked), "tasks": json.loads(spec.tasks)}
    path = folder.folder / "fewshot.json"
    if path.exists() and read_json(path, "few-shot evaluation").get("identity") == identity:
        return
    with space.timed(name):
        result = one_model(space.config.downstream, folder.folder / "model", str(space.world.device))
        fewshot.write(folder.folder, {**result, "identity": identity})


def one_model(settings: DownstreamConfig, model: Path, device: str) -> dict[str, Any]:
    """Any saved model on the configured tasks: what fewshot.json holds (docs/formats.md)."""
    check(settings)
    run = fewshot.evaluate if settings.generate else fewshot.score
    tasks = Path(str(settings.tasks))
    return run(model, tasks, shots=settings.shots, limit=settings.limit, device=device)


def lines(result: Mapping[str, Any]) -> list[str]:
    """A result as lines of text: task, metric, value, number of examples."""
    return [
        f"{name:<14} {metric:<22} {held['value']:.4f}  ({task['n']} examples)"
        for name, task in result["tasks"].items()
        for metric, held in task["metrics"].items()
    ]


def check(settings: DownstreamConfig) -> None:
    """`ConfigError` where there are no tasks."""
    if settings.tasks is None:
        raise ConfigError("downstream.tasks is not set: give the folder that holds the files of the five tasks")
    if not Path(settings.tasks).is_dir():
        raise ConfigError(f"downstream.tasks: {settings.tasks} is not a folder; it holds the files of the five tasks")
