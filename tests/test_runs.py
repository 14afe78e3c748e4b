"""The run directory's files: written whole or not at all, read with one line about what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from doremi.errors import DamageError, RunError
from doremi.events.event import Evaluated, Measured
from doremi.files import read_json, tensor_files, write_bytes, write_json
from doremi.mixture.domains import DomainSet
from doremi.rundir.layout import RunDirectory, TrainingFolder
from doremi.rundir.metrics import MetricsWriter
from doremi.rundir.nodes import NodeRecord, Nodes, write_nodes

DOMAINS = DomainSet(["a", "b"])


def row(step: int) -> np.ndarray:
    return np.full((1, 15), step, dtype=np.float64)


def written(folder: Path, steps: int) -> MetricsWriter:
    writer = MetricsWriter(folder, DOMAINS, "plain")
    writer.cut_back(0, 0)
    for step in range(1, steps + 1):
        writer.rows(row(step))
        writer.hear(Measured("job", step, step, 1.0 / step, 0.1, 1.0, [1.0], [1], None, None, None))
    return writer


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"format": 1, "x": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("doremi.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"format": 1, "x": 2})
    assert read_json(path, "value")["x"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_not_a_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", {"x": float("nan")})
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("{", DamageError, "cannot be read.*remove it"),
        ("[1]", DamageError, "not a JSON object"),
        ('{"format": 7}', RunError, "has format 7, this doremi reads 1"),
        ("\ud800", DamageError, "cannot be read"),
    ],
)
def test_broken_json(text: str, error: type[Exception], says: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(error, match=says) as caught:
        read_json(path, "corpus manifest")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"format": 1, "domains": 3}', "domains"),
        ('{"format": 1, "domains": {"web": []}}', "domains.web"),
        ('{"format": 1, "domains": {"web": {"train": {"tokens": "many"}}}}', "domains.web.train.tokens"),
        ('{"format": 1, "domains": {"web": {"validation": {"documents": true}}}}', "domains.web.validation.documents"),
        ('{"format": 1, "domains": {"web": {"train": {"files": {"x": null}}}}}', "domains.web.train.files.x"),
        ('{"format": 1, "tokenizer": {"vocab_size": 2.5}}', "tokenizer.vocab_size"),
        ('{"format": 1, "fingerprint": {}}', "fingerprint"),
    ],
)
def test_wrong_types_in_a_corpus_manifest(text: str, key: str, tmp_path: Path) -> None:
    write_bytes(tmp_path / "corpus/manifest.json", text.encode())
    with pytest.raises(DamageError, match=f"manifest.json: '{key}' is of the wrong type; remove it"):
        RunDirectory(tmp_path).corpus()


def test_broken_config_is_one_line(tmp_path: Path) -> None:
    write_bytes(tmp_path / "config.yaml", b"a: [1,\nb: }")
    with pytest.raises(DamageError, match=r"config.yaml: cannot be read") as caught:
        RunDirectory(tmp_path).config()
    assert "\n" not in str(caught.value)


def test_log_that_was_cut_off_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    written(tmp_path, 3)
    for name, cut in (("metrics.jsonl", 7), ("trace.f32", 5)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-cut])
    folder = TrainingFolder(tmp_path)
    assert [r["step"] for r in folder.records("train")] == [1, 2]
    assert folder.trace()["step"].tolist() == [1, 2]


def test_log_without_header(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(DamageError, match="has no header"):
        TrainingFolder(tmp_path).trace()


@pytest.mark.parametrize("step", [0, 2, 3, 9])
def test_cut_back_keeps_what_the_checkpoint_knows(step: int, tmp_path: Path) -> None:
    written(tmp_path, 3).cut_back(step, step)
    kept = [1, 2, 3][: min(step, 3)]
    assert [r["step"] for r in TrainingFolder(tmp_path).records("train")] == kept
    assert TrainingFolder(tmp_path).trace()["step"].tolist() == kept
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["kind"] == "header"


def test_cut_back_knows_what_a_checkpoint_holds_itself(tmp_path: Path) -> None:
    """Rows 2 and 3 are in the checkpoint of step 3, and step 3 is evaluated again: neither may appear twice."""
    writer = written(tmp_path, 4)
    for step in (2, 3):
        writer.hear(Evaluated("job", step, step, {}))
    writer.cut_back(logged=1, evaluated=2)
    folder = TrainingFolder(tmp_path)
    assert folder.trace()["step"].tolist() == [1]
    assert [r["step"] for r in folder.records("train")] == [1]
    assert [r["step"] for r in folder.records("evaluation")] == [2]


def test_full_disk_under_safetensors_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be written.*free disk space"), tensor_files(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_place_outside_the_run_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    for place in ("../elsewhere", "/etc", "trainings/../../elsewhere"):
        node = NodeRecord(
            id="1m/natural/seed-0", kind="training", role="main", key="k", place=place, size="1m", mixture="natural"
        )
        write_nodes(run.root, Nodes(nodes=(node,), candidates=(), reference_mixture="natural"))
        with pytest.raises(DamageError, match="is outside the run"):
            run.main("1m", "natural", 0)
