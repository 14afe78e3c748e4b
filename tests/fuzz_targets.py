"""What reads files that a stranger may have made, each as a function of bytes; test_fuzz*.py feed them.

A target may end with an error of ours, whose message is one line that no terminal obeys; any other exception is a bug.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from doremi.config import dump, load
from doremi.corpus.readers import read_documents
from doremi.distributed import World
from doremi.errors import DoremiError
from doremi.files import file_sha256, read_json, write_bytes, write_json
from doremi.mixture.domains import DomainSet
from doremi.mixture.files import read_mixture
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.metrics import TRACE_COLUMNS, MetricsWriter
from doremi.training import checkpoint

ALONE = World(0, 1, torch.device("cpu"))
VALID = b"data:\n  domains:\n    web: texts/web\n    code: [a.jsonl, b.jsonl]\n    wiki: {train: w, epochs: 3}\n"
DOMAINS = DomainSet(["a", "b"])
HEADER = (
    json.dumps(
        {"kind": "header", "format": 1, "domains": list(DOMAINS), "objective": "plain", "trace": list(TRACE_COLUMNS)}
    ).encode()
    + b"\n"
)


def _ours(work: Callable[[], object]) -> None:
    try:
        work()
    except DoremiError as error:
        assert str(error).isprintable(), str(error)


def _written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def config_file(folder: Path, data: bytes) -> None:
    """What loads can be written down and is the same again."""

    def work() -> None:
        config = load(_written(folder / "c.yaml", data))
        assert load(_written(folder / "again.yaml", dump(config).encode())) == config

    _ours(work)


def override(folder: Path, data: bytes) -> None:
    """`--set` with these bytes, as the shell would hand them over."""

    def work() -> None:
        config = load(_written(folder / "c.yaml", VALID), [data.decode(errors="surrogateescape")])
        assert load(_written(folder / "again.yaml", dump(config).encode())) == config

    _ours(work)


def documents(suffix: str) -> Callable[[Path, bytes], None]:
    """The reader of files with this suffix."""

    def target(folder: Path, data: bytes) -> None:
        file = str(_written(folder / f"a{suffix}", data))
        _ours(lambda: [text.encode() for text in read_documents([file], text_field="text", domain="web")])

    return target


def mixture(folder: Path, data: bytes) -> None:
    _ours(lambda: read_mixture(_written(folder / "mixture.json", data)))


def json_object(folder: Path, data: bytes) -> None:
    _ours(lambda: read_json(_written(folder / "x.json", data), "thing")["key"])


def run_files(folder: Path, data: bytes) -> None:
    """The small files of a run directory, and a link between trainings."""
    root = folder / "run"
    run = RunDirectory(root)
    for name in ("config.yaml", "manifest.json", "corpus/manifest.json", "nodes.json", "mixtures/a.json"):
        _written(root / name, data)
    for work in (run.config, run.manifest, lambda: run.corpus().fingerprint, run.nodes):
        _ours(work)
    _ours(lambda: (run.corpus().domains, run.corpus().count("train", "tokens")))
    _ours(lambda: _inside(root, run.main("1m", "a", 0)))


def _inside(root: Path, training: TrainingFolder) -> None:
    assert training.folder.resolve().is_relative_to(root.resolve())


def training_files(folder: Path, data: bytes) -> None:
    """A finished training's records; the same bytes as each of its files in turn."""
    training = TrainingFolder(folder / "training")
    for name in ("stage.json", "evaluation.json"):
        _written(training.folder / name, data)
    _ours(lambda: training.stage()["key"])
    _ours(lambda: training.evaluation()["select"])
    for metrics, trace in ((data, data), (HEADER + data, data), (HEADER, data)):
        _written(training.folder / "metrics.jsonl", metrics)
        _written(training.folder / "trace.f32", trace)
        for work in (lambda: [*training.records("train")], lambda: [*training.records("evaluation")], training.trace):
            _ours(work)
        MetricsWriter(training.folder, DOMAINS, "plain").cut_back(2, 2)
        assert training.trace()["weights"].shape[1] == len(DOMAINS)


def checkpoints(folder: Path, data: bytes) -> None:
    """Damaged checkpoints are passed over, whatever is in them: nothing at all may be raised."""
    place = folder / "checkpoint"
    if not place.exists():
        checkpoint.save(place, 1, {"x": torch.ones(3)}, {}, ALONE, sharded=False)
    bad = place / "step-00000002"
    for state, sums in ((data, None), (b"{}", data), (data, data)):
        _written(bad / "state.json", state)
        write_bytes(bad / "tensors.safetensors", b"x")
        known = {name: file_sha256(bad / name) for name in ("state.json", "tensors.safetensors")}
        write_json(bad / "checksums.json", {"format": 1, "sha256": known})
        if sums is not None:
            _written(bad / "checksums.json", sums)
        found = checkpoint.latest(place, lambda message: None, ALONE)
        assert found is not None
        assert isinstance(found.state, dict)


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "config": config_file,
    "override": override,
    **{suffix: documents(suffix) for suffix in (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".txt")},
    "mixture": mixture,
    "json": json_object,
    "run": run_files,
    "training": training_files,
    "checkpoint": checkpoints,
}
