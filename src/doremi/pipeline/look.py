"""What is on the disk of a run, read once: what its graph depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

from doremi.config import PLAIN_MIXTURES, RunConfig, TrainingConfig
from doremi.config.comparison import TASKS
from doremi.corpus.value import Corpus
from doremi.errors import DoremiError
from doremi.files import FORMAT, file_sha256, read_json, write_bytes, write_json
from doremi.methods import by_mixture
from doremi.mixture.domains import Mixture
from doremi.mixture.files import read_mixture
from doremi.mixture.published import published_names
from doremi.mixture.record import MixtureRecord, read_own_record
from doremi.rundir.known import COUNTS, Asked, Counts, Known, Trained, counts
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.looks import read_goal
from doremi.rundir.machine import Machine
from doremi.rundir.part import FOLDER as PARTS
from doremi.rundir.part import read_part
from doremi.rundir.preparing import shards_of_run
from doremi.rundir.specs import PART_DIGITS, FewshotSpec, LossesSpec, TrainingSpec, canonical
from doremi.rundir.weights import candidate_name

EVALUATIONS = f"evaluation.{PART_DIGITS * '[0-9a-f]'}.f64"
ASKED = "asked.json"


def look(config: RunConfig, directory: RunDirectory, corpus: Corpus | None) -> Known:
    """All that is known of a run; `corpus` with the documents that epoch-matched runs keep."""
    root = directory.root
    trained, begun = trainings(root)
    return Known(
        corpus=corpus,
        shards=None if corpus is not None and corpus.fingerprint else shards_of_run(config),
        machine=machine(root),
        counts=counts(root),
        trained=trained,
        begun=begun,
        stored=frozenset(_stored(root)),
        found=dict(_found(root)),
        files=files(config, root),
        tasks=_tasks(config),
        answered=frozenset(_answered(root)),
        parts={record.key: record.documents for record in map(read_part, sorted((root / PARTS).glob("*.json")))},
        evaluated=frozenset(str(path.relative_to(root)) for path in (root / "trainings").glob(f"*/{EVALUATIONS}")),
        judged=frozenset(_judged(root)),
        asked=asked(root),
        bits=dict(_bits(root)) if config.candidates.race else {},
        goal=read_goal(root) if config.verdict.looks == "planned" else None,
    )


def trainings(root: Path) -> tuple[dict[str, Trained], dict[str, int]]:
    """Finished ones by key, and the steps of begun ones by place."""
    finished, begun = {}, {}
    for path in sorted((root / "trainings").glob("*")):
        folder = TrainingFolder(path)
        if folder.finished:
            stage = folder.stage()
            sequences, documents = stage["steps"] * stage["batch_size"], tuple(stage.get("evaluated_documents", ()))
            finished[str(stage["key"])] = Trained(stage["steps"], sequences, documents)
        else:
            begun[str(path.relative_to(root))] = folder.saved_step()
    return finished, begun


def _bits(root: Path) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Bits per byte of finished trainings by key."""
    for path in sorted((root / "trainings").glob("*")):
        folder = TrainingFolder(path)
        if folder.finished:
            yield str(folder.stage()["key"]), folder.bits_per_byte()


def machine(root: Path) -> Machine | None:
    """The recorded facts; None before a command has worked here."""
    path = root / "manifest.json"
    held = read_json(path, "run manifest").get("machine") if path.exists() else None
    return None if held is None else Machine(**held)


def write_counts(root: Path, found: Mapping[str, Counts]) -> None:
    """Record them."""
    write_json(root / COUNTS, {"format": FORMAT, "counts": {key: asdict(found[key]) for key in sorted(found)}})


def _stored(root: Path) -> list[str]:
    """Keys of the kept losses."""
    found = []
    for path in sorted((root / "losses").glob("*/manifest.json")):
        held = read_json(path, "store of reference losses")
        found.append(LossesSpec(held["data"], held["sequence_length"], held["reference"]).key)
    return found


def _found(root: Path) -> list[tuple[str, MixtureRecord]]:
    """The versions of found mixtures by key; files of plain mixtures have none."""
    records = [read_own_record(path) for path in sorted((root / "mixtures").glob("*.*.json"))]
    return [(record.key, record) for record in records if record.key is not None]


# -- mixture files -----------------------------------------------------------------------------------------------------


def files(config: RunConfig, root: Path) -> dict[str, Mixture]:
    """The mixture files of a configuration by their paths in it: where they are, else the copy that the run has."""
    found = {}
    for name in named_files(config):
        places = [path for path in (Path(name), copied(root, name)) if path.exists()]
        if places:
            found[name] = read_mixture(places[0])
    return found


def named_files(config: RunConfig) -> list[str]:
    """Mixtures of a configuration that are files."""
    names = [*config.candidate_mixtures(), config.reference.mixture, config.proxy.sampling]
    own = {*PLAIN_MIXTURES, *published_names(), *by_mixture(), "reference"}
    return list(dict.fromkeys(name for name in names if name not in own and name.endswith(".json")))


def copied(root: Path, name: str) -> Path:
    """Where a run keeps its copy of a mixture file, so that it can be moved without it."""
    return root / "mixtures" / "given" / f"{candidate_name(name)}.json"


def copy_files(config: RunConfig, root: Path) -> None:
    """Keep a copy of each mixture file that is there."""
    for name in named_files(config):
        if Path(name).exists():
            data, copy = Path(name).read_bytes(), copied(root, name)
            if not copy.exists() or copy.read_bytes() != data:
                write_bytes(copy, data)


# -- models beside the candidates --------------------------------------------------------------------------------------


def asked(root: Path) -> tuple[Asked, ...]:
    """What `doremi train --mixture` and `doremi tune` were asked for."""
    path = root / ASKED
    held = read_json(path, "list of models beside the candidates")["models"] if path.exists() else []
    return tuple(
        Asked(
            TrainingSpec(
                **{
                    **entry["spec"],
                    "settings": TrainingConfig.model_validate(entry["spec"]["settings"]),
                    "weights": tuple(entry["spec"]["weights"]),
                }
            ),
            entry["size"],
            entry["mixture"],
            entry["role"],
        )
        for entry in held
    )


def ask(root: Path, wanted: Asked) -> None:
    """Add a model; one of the same size, mixture and seed is asked for no more."""
    _ask(root, [held for held in asked(root) if held.id != wanted.id], [wanted])


def ask_sweep(root: Path, wanted: Sequence[Asked]) -> None:
    """Add a sweep; an earlier one of the same sizes is asked for no more."""
    sizes = {one.size for one in wanted}
    _ask(root, [held for held in asked(root) if held.role != "tune" or held.size not in sizes], wanted)


def _ask(root: Path, others: Sequence[Asked], wanted: Sequence[Asked]) -> None:
    write_json(root / ASKED, {"format": FORMAT, "models": [_described(held) for held in (*others, *wanted)]})


def _described(held: Asked) -> dict[str, Any]:
    spec = {
        **{f.name: getattr(held.spec, f.name) for f in fields(held.spec)},
        "settings": held.spec.settings.model_dump(mode="json"),
    }
    return {"role": held.role, "size": held.size, "mixture": held.mixture, "spec": spec}


# -- few-shot tasks and the verdict ------------------------------------------------------------------------------------


def _tasks(config: RunConfig) -> str:
    """Hashes of the tasks' files, as JSON; what is missing is said by who reads them."""
    if config.downstream.tasks is None:
        return ""
    paths = {name: Path(config.downstream.tasks) / f"{name}.jsonl" for name in TASKS}
    return canonical({name: _hash(path) for name, path in paths.items()})


def _hash(path: Path) -> str | None:
    """Of a file that a run looks at whenever it plans anew; read again only where it has changed."""
    if not path.is_file():
        return None
    found = path.stat()
    return _hash_of(path, found.st_size, found.st_mtime_ns)


@cache
def _hash_of(path: Path, size: int, changed: int) -> str:  # the last two: what the answer is kept by
    return file_sha256(path)


def _answered(root: Path) -> list[str]:
    held = [read_json(path, "few-shot evaluation") for path in sorted((root / "trainings").glob("*/fewshot.json"))]
    each = [one["identity"] for one in held if "identity" in one]
    return [FewshotSpec(one["key"], canonical(one["asked"]), canonical(one["tasks"])).key for one in each]


def _judged(root: Path) -> set[str]:
    """Keys of the trainings that verdict.json compares; none where it cannot be read."""
    try:
        return set(_keys(read_json(root / "verdict.json", "verdict")))
    except DoremiError:
        return set()


def _keys(value: Any) -> list[str]:
    """All that stands below a `trainings`, wherever that is."""
    if isinstance(value, Mapping):
        own = [key for name, part in value.items() if name == "trainings" for key in _texts(part)]
        return own + [key for name, part in value.items() if name != "trainings" for key in _keys(part)]
    return [key for part in value for key in _keys(part)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [value] if isinstance(value, str) else []
