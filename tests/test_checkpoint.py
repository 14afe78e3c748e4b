"""Checkpoints: complete or absent, checked before use, two kept, restored to the bit."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from doremi.config import TrainingConfig
from doremi.distributed import World, load_shards, saved_tensors
from doremi.training import checkpoint
from doremi.training.optimizer import make_optimizer

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


def save(folder: Path, step: int) -> None:
    checkpoint.save(folder, step, {"x": torch.full((3,), float(step))}, {"key": "k"}, ALONE, sharded=False)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_last_two_are_kept_and_of_a_finished_training_one(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-00000010", "step-00000015"]
    checkpoint.keep_last(tmp_path)
    assert names(tmp_path) == ["step-00000015"]
    found = checkpoint.latest(tmp_path, pytest.fail, ALONE)
    assert found is not None
    assert load_file(found.folder / "tensors.safetensors")["x"].tolist() == [15.0] * 3


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "checksums.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "one bit"])
def test_damage_is_detected_said_and_passed_over(file: str, how: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / file
    if how == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(b"" if how == "empty" else bytes(data))
    said: list[str] = []
    found = checkpoint.latest(tmp_path, said.append, ALONE)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert "step-00000002 is damaged" in said[0]


def test_nothing_is_left_of_a_save_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]


def module_and_optimizer(seed: int, name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    return module, make_optimizer(module, TrainingConfig(optimizer=name))


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    for _ in range(number):
        module(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_restored_training_goes_on_to_the_bit(name: str, tmp_path: Path) -> None:
    module, optimizer = module_and_optimizer(0, name)
    steps(module, optimizer, 3)
    checkpoint.save(tmp_path, 3, checkpoint.training_tensors(module, optimizer, CPU), {}, ALONE, sharded=False)
    steps(module, optimizer, 3)
    other, other_optimizer = module_and_optimizer(1, name)
    found = checkpoint.latest(tmp_path, pytest.fail, ALONE)
    assert found is not None
    checkpoint.restore_tensors(found.folder, other, other_optimizer, CPU)
    steps(other, other_optimizer, 3)
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_planted_metadata_is_never_unpickled(tmp_path: Path) -> None:
    from torch.distributed.checkpoint import FileSystemReader

    ran, folder = tmp_path / "ran", tmp_path / "step-00000001"
    saved = {"a": torch.arange(6.0).view(2, 3), "b.c": torch.tensor([1, 2, 3])}
    folder.mkdir()
    save_file(saved, folder / "shard-00001-model-00001-of-00001.safetensors")
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb(ran)))
    found = {name: torch.zeros_like(like, device="cpu") for name, like in saved_tensors(folder).items()}
    load_shards(found, folder)
    assert not ran.exists()
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], saved[name]) for name in saved)
    with contextlib.suppress(Exception):  # what comes out is no metadata, but by then it has run
        FileSystemReader(str(folder)).read_metadata()
    assert ran.exists(), "DCP's usual reader no longer unpickles: this test cannot fail any more"
