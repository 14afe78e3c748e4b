"""To what a run directory is bound: a key of the configuration binds it once a result that depends on the key exists.

| what is there                                          | keys that may not change any more                         |
|--------------------------------------------------------|-----------------------------------------------------------|
| nothing, a corpus, or what a failed attempt left       | none                                                      |
| a main model                                           | all but `reference.*`, `rounds.*`, `proxy.*` and FREE     |
| a reference                                            | all but `proxy.*` and FREE                                |
| a proxy                                                | all but FREE                                              |

A training is there when it is finished, or has a checkpoint and has not failed for its settings (a loss that is not
finite). One that has is begun anew with the mended configuration; `train.Trainer.restore` says so.

All this is for the user's sake: it is said early, and names the key. That results of two settings never mix is the work
of the keys in every training's stage.json (`jobs.is_finished`: refused) and checkpoints (`restore`: begun anew).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doremi.config import RunConfig, read_yaml, validate
from doremi.errors import ConfigError, DoremiError, RunError, TrainingError
from doremi.files import read_json
from doremi.rundir.layout import RunDirectory, TrainingFolder

# these change neither what is on disk already nor what it is called: more candidates may join a finished run
FREE = (
    "budget_tokens",  # but see `_is_free`
    "candidates.",
    "data.corpus",
    "data.workers",
    "downstream.",
    "limits.",
    "name",
    "proxy.seeds",
    "reference.losses",
    "reference.reuse",
    "rounds.until",
    "runs",
    "training.accumulation",
    "training.checkpoint_every",
    "training.parallel",
    "training.threads",
    "training.timeout",
    "verdict.",
)
NOT_IN = {"main": ("reference.", "rounds.", "proxy."), "reference": ("proxy.",)}  # what such trainings do not know of
OWN_MODEL = ("model.", "training.")  # may be others for a model that joins the run


@dataclass(frozen=True)
class Result:
    """A training, which depends on keys of the configuration."""

    path: Path
    kind: str
    """reference, proxy or main."""

    def depends_on(self, key: str) -> bool:
        """Whether it would be another one with another value of a dotted key."""
        return not key.startswith(NOT_IN.get(self.kind, ()))


def check(config: RunConfig, directory: RunDirectory, *, own_model: bool) -> None:
    """`RunError` where a result is there that was made with another value of one of its keys."""
    if (directory.root / "manifest.json").exists():
        read_json(directory.root / "manifest.json", "run manifest")  # refuses another format
    path = directory.root / "config.yaml"
    if not path.exists():
        return
    old, new = flat(_with_defaults(path)), flat(config.model_dump(mode="json"))
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not _is_free(key, config)]
    for result in results(directory):
        for key in changed:
            if result.depends_on(key) and not (own_model and key.startswith(OWN_MODEL)):
                raise RunError(
                    f"{directory.root}: {result.path.relative_to(directory.root)} belongs to a configuration in which "
                    f"{key} is {old.get(key, 'not set')!r}, here it is {new.get(key, 'not set')!r}; "
                    "give this run another name (--set name=...) or remove the folder"
                )


def _is_free(key: str, config: RunConfig) -> bool:
    """Whether a key may always change. What epoch-matched runs train on depends on the budget."""
    return key.startswith(FREE) and not (key == "budget_tokens" and config.data.epoch_matched)


def results(directory: RunDirectory) -> Iterator[Result]:
    """What is there and binds."""
    failed = set(_failed(directory))
    for folder in begun(directory):
        if folder.finished or folder.folder not in failed:
            parts = folder.folder.relative_to(directory.root).parts
            yield Result(folder.folder, parts[2] if parts[0] == "rounds" else parts[0])


def begun(directory: RunDirectory) -> Iterator[TrainingFolder]:
    """Every training that is finished or has a checkpoint."""
    for pattern in ("reference/seed-*", "proxy/seed-*", "rounds/*/*/seed-*", "main/*/*/seed-*"):
        folders = (TrainingFolder(path) for path in sorted(directory.root.glob(pattern)))
        yield from (folder for folder in folders if folder.finished or folder.saved_step())


def _failed(directory: RunDirectory) -> Iterator[Path]:
    """The trainings that the last commands found impossible with the settings they had."""
    for own_model in (False, True):
        try:
            status = read_json(directory.status_path(own_model=own_model), "status")
        except DoremiError:  # none yet, or damaged
            continue
        if status.get("error") == TrainingError.__name__:
            yield directory.root / str(status.get("stage"))


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    return {k: v for name, part in value.items() for k, v in flat(part, f"{prefix}.{name}".lstrip(".")).items()}


def _with_defaults(path: Path) -> dict[str, Any]:
    """A recorded configuration; keys that it is older than have their defaults, which change nothing.

    `RunError` for what is none: the folder may be another tool's, and its file is not ours to replace.
    """
    try:
        return validate(read_yaml(path), str(path)).model_dump(mode="json")
    except ConfigError as error:
        raise RunError(f"{error}; so this is no run of this doremi: change runs or name, or empty the folder") from None
