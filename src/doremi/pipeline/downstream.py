"""Few-shot tasks on every finished main model: fewshot.json in each folder, done once for a model and its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from doremi.config import DownstreamConfig
from doremi.errors import ConfigError
from doremi.evaluation import fewshot
from doremi.files import file_sha256, read_json
from doremi.pipeline.workspace import Workspace
from doremi.rundir.layout import TrainingFolder


def evaluate_candidates(space: Workspace) -> None:
    """All candidates on the configured tasks, on the main process; nothing where no tasks are configured."""
    settings = space.config.downstream
    if settings.tasks is None:
        return
    _check(settings)
    for size, by_name in space.directory.candidates().items():
        for name, seeds in by_name.items():
            for seed in seeds:
                _one(space, settings, space.directory.main(size, name, seed))


def _one(space: Workspace, settings: DownstreamConfig, folder: TrainingFolder) -> None:
    asked = {"shots": settings.shots, "limit": settings.limit, "generate": settings.generate}
    identity = {"key": folder.stage()["key"], "asked": asked, "tasks": _files(Path(str(settings.tasks)))}
    path = folder.folder / fewshot.FILE
    if path.exists() and read_json(path, "few-shot evaluation").get("identity") == identity:
        return
    with space.timed(f"downstream/{folder.folder.relative_to(space.root)}"):
        result = one_model(settings, folder.folder / "model", str(space.world.device))
        fewshot.write(folder.folder, {**result, "identity": identity})


def one_model(settings: DownstreamConfig, model: Path, device: str) -> dict[str, Any]:
    """Any saved model on the configured tasks: what fewshot.json holds (docs/formats.md)."""
    _check(settings)
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


def _check(settings: DownstreamConfig) -> None:
    if settings.tasks is None:
        raise ConfigError("downstream.tasks is not set: give the folder that holds the files of the five tasks")
    if not Path(settings.tasks).is_dir():
        raise ConfigError(f"downstream.tasks: {settings.tasks} is not a folder; it holds the files of the five tasks")


def _files(tasks: Path) -> dict[str, str | None]:
    """SHA-256 of each task's file; what is missing is said by who reads them."""
    paths = {name: tasks / f"{name}.jsonl" for name in fewshot.TASKS}
    return {name: file_sha256(path) if path.is_file() else None for name, path in paths.items()}
