"""Trainings that repeat to the byte on a GPU, and what is said where they do not."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch

from doremi import distributed
from doremi.config import RunConfig
from doremi.errors import Interrupted, TrainingError
from doremi.executors.choose import chosen
from doremi.pipeline import run
from doremi.pipeline.workspace import open_workspace
from doremi.rundir.layout import RunDirectory
from doremi.rundir.machine import Machine, repeats, resolved
from doremi.training.determinism import deterministic_or_said, set_deterministic
from graphs import config
from tiny import Silent, tiny_config, write_corpus

CARD, CPU = Machine("cuda", True, 8, 8), Machine("cpu", False, 8, 8)


@pytest.mark.parametrize(("asked", "on_card"), [("auto", True), (True, True), (False, False)])
def test_auto_repeats_wherever_a_gpu_is(asked: object, on_card: bool) -> None:
    run = config(training={"deterministic": asked})
    assert resolved(run, CARD, 1000).deterministic is on_card
    assert repeats(run, CARD) == ("bytes" if on_card else "distribution")
    assert repeats(run, CPU) == "bytes"


def test_on_a_cpu_nothing_is_switched() -> None:
    set_deterministic(True, torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_that_cannot_keep_an_order_says_what_to_set() -> None:
    error = RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use ...")
    said = r"^cumsum_cuda_kernel of .* Set training\.deterministic to false"
    with pytest.raises(TrainingError, match=said), deterministic_or_said():
        raise error
    with pytest.raises(RuntimeError, match="another"), deterministic_or_said():
        raise RuntimeError("another")


# -- on a GPU ----------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "float32": {}, "bfloat16": {"precision": "bfloat16"},
    "bfloat16, compiled": {"precision": "bfloat16", "compile": True}, "accumulated": {"accumulation": 2},
}  # fmt: skip


def searched(asked: RunConfig, *, stop_after: int | None = None) -> dict[str, bytes]:
    """The files that a search leaves; stopped once on its way, and resumed."""
    world = distributed.start()
    for stop in filter(None, [stop_after, 10**9]):
        with open_workspace(asked, world, Silent(stop)) as space, contextlib.suppress(Interrupted):
            run.search(space, chosen)
    trained = RunDirectory(asked.root).proxy(0).folder
    files = [p for p in trained.rglob("*") if p.is_file() and p.suffix in (".safetensors", ".f32", ".f64")]
    found = {str(path.relative_to(trained)): path.read_bytes() for path in files}
    return {**found, "mixture": (trained / "mixture.json").read_bytes()}


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_repeat_and_a_resume_on_a_gpu_have_the_same_bytes(kind: str, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    text = write_corpus(tmp_path / "text")
    found = [
        searched(tiny_config(tmp_path / name, text, training=KINDS[kind]), stop_after=stop)
        for name, stop in (("once", None), ("again", None), ("resumed", 30))
    ]
    assert len(found[0]) >= 3
    assert found[1] == found[0]
    assert found[2] == found[0]
    set_deterministic(False, torch.device("cuda"))
