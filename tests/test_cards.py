"""What is otherwise on a GPU, as far as it can be told without one: threads, room, reading ahead, falling back."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.config as dynamo

from doremi.distributed import World
from doremi.events.event import Event, Said
from doremi.model import build as models
from doremi.objectives.dro import GroupDRO
from doremi.objectives.plain import PlainObjective
from doremi.objectives.reweighting import Reweighting
from doremi.objectives.variants import VariantDRO, official
from doremi.pipeline.driver import settle
from doremi.pipeline.host import this_host
from doremi.pipeline.preparing import prepare
from doremi.pipeline.trainings import fresh_model, make_job
from doremi.pipeline.work import plan_now
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir import costs
from doremi.rundir.machine import Machine, resolved
from doremi.rundir.specs import TrainingSpec
from doremi.training import compiling, loop
from doremi.training.batches import DeviceBatch, read_ahead
from doremi.training.loop import Job, Trainer
from doremi.training.reference_losses import LiveReference
from doremi.training.sums import counts, score_error, scored_sums
from tiny import Silent, tiny_config, write_corpus

CPU = torch.device("cpu")
GIGABYTE = 2**30


class Heard(Silent):
    """A watch that keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Said):
            self.said.append(event.message)
        super().emit(event)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("cards")
    config = tiny_config(root, write_corpus(root / "text"))
    with open_workspace(config, World(0, 1, CPU), Silent()) as opened:
        settle(opened, prepare(opened), this_host())
        yield opened


@pytest.fixture(scope="module")
def spec(space: Workspace) -> TrainingSpec:
    """The training of the run's reference, on a uniform mixture."""
    found = plan_now(space, space.directory.whole_corpus()).node("doremi/reference/seed-0").spec
    assert isinstance(found, TrainingSpec)
    return replace(found, weights=(1 / 3, 1 / 3, 1 / 3))


def job_of(space: Workspace, name: str, spec: TrainingSpec, *, scored: bool = False) -> Job:
    (space.root / name).mkdir(exist_ok=True)
    corpus, reference = space.directory.whole_corpus(), None
    if scored:
        model = fresh_model(corpus, spec, 1, space.world)
        reference = LiveReference(model, model)
    objective = Reweighting(GroupDRO(3), weighs_ahead=False, scores_clipped_excess=True) if scored else PlainObjective()
    return make_job(
        corpus, space.root / name, spec, space.world, name=name, objective=(name, objective), reference=reference
    )


def step_of(trainer: Trainer, step: int) -> torch.Tensor:
    batches = [DeviceBatch.of(batch, CPU) for batch in trainer.job.stream.micro_batches(step - 1)]
    sums = trainer.forward_backward(batches)
    trainer.record(step, sums, trainer.optimizer_step(step))
    return sums


# -- machine -----------------------------------------------------------------------------------------------------------


def test_threads_on_a_card_are_few_and_as_told_where_told(tmp_path: Path) -> None:
    card = Machine("cuda", True, 16, 16, 80 * GIGABYTE)
    config = tiny_config(tmp_path, tmp_path, training={"threads": "auto"})
    assert resolved(config, card, 10**6).threads == 2
    assert resolved(config, replace(card, device="cpu"), 10**6).threads == 16
    assert resolved(config, replace(card, threads=1), 10**6).threads == 1
    assert resolved(tiny_config(tmp_path, tmp_path, training={"threads": 7}), card, 10**6).threads == 7


def test_a_cards_memory_decides_on_batches_and_logits_and_is_in_no_key(space: Workspace, spec: TrainingSpec) -> None:
    on_card = replace(spec, device_memory=16 * GIGABYTE)
    assert on_card.key == spec.key
    length = spec.sequence_length
    assert costs.evaluation_rows(length, None) * length == 8192
    assert costs.evaluation_rows(length, 16 * GIGABYTE) * length == 16_384
    assert costs.losses_rows(spec.settings, length, None) == costs.micro_batch_rows(spec.settings)
    assert costs.losses_rows(spec.settings, length, 16 * GIGABYTE) * length == 16_384
    job = job_of(space, "room", on_card)
    assert (job.model.logits_bytes or 0) > 3 * GIGABYTE
    assert job.validation.rows * length == 16_384
    assert job_of(space, "room", spec).model.limit == models.LOGITS_LIMIT_BYTES
    here, there = (one.validation.nats(one.model.eval(), space.world) for one in (job_of(space, "room", spec), job))
    assert here == pytest.approx(there, rel=1e-5)


# -- reading ahead -----------------------------------------------------------------------------------------------------


def test_reading_ahead_gives_the_same_in_order_on_one_thread() -> None:
    seen: list[tuple[int, str]] = []

    def read(step: int) -> int:
        seen.append((step, threading.current_thread().name))
        return step * step

    steps = read_ahead(read, 3)
    assert list(itertools.islice(steps, 4)) == [9, 16, 25, 36]
    steps.close()  # type: ignore[attr-defined]
    assert [step for step, _ in seen] == [3, 4, 5, 6, 7]
    assert {name for _, name in seen} == {"read-ahead_0"}


def test_what_cannot_be_read_fails_when_it_is_due() -> None:
    def read(step: int) -> int:
        if step == 2:
            raise OSError("gone")
        return step

    steps = read_ahead(read, 0)
    assert [next(steps), next(steps)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(steps)


# -- compiling ---------------------------------------------------------------------------------------------------------


def test_the_compiler_may_keep_many_graphs_in_a_folder_that_lives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(compiling.CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with dynamo.patch(recompile_limit=8):
        compiling.prepare()
        assert dynamo.recompile_limit == compiling.GRAPHS_KEPT
    assert os.environ[compiling.CACHE] == str(tmp_path / "doremi" / "compiled")
    monkeypatch.setenv(compiling.CACHE, "mine")
    with dynamo.patch(recompile_limit=1000):
        compiling.prepare()
        assert dynamo.recompile_limit == 1000
    assert os.environ[compiling.CACHE] == "mine"


def test_who_should_be_compiled_and_is_not_is_told_once(
    space: Workspace, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the compiler's limit is reached: what was compiled runs as it is."""
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    for compile_it, warnings in ((True, 1), (False, 0)):
        watch = Heard()
        trainer = Trainer(
            job_of(
                space,
                f"given up {compile_it}",
                replace(spec, settings=spec.settings.model_copy(update={"compile": compile_it})),
            ),
            space.world,
            watch,
        )
        for step in (1, 2):
            step_of(trainer, step)
            trainer.flush_log()
        assert len([line for line in watch.said if "the compiler gave up" in line]) == warnings


def test_a_training_goes_on_without_cuda_graphs_where_they_fail(
    space: Workspace, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, and its steps are those of one that never tried: no weight is moved twice."""
    sums, watch, right = [], Heard(), loop.weighted_loss
    failing: list[Any] = []

    def weighted(*given: Any) -> torch.Tensor:
        if failing:
            raise RuntimeError(failing.pop())
        return right(*given)

    monkeypatch.setattr(loop, "weighted_loss", weighted)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)  # loads the compiler
    for graphs in (False, True):
        trainer = Trainer(job_of(space, "graphs", spec, scored=True), space.world, watch)
        trainer.graphs, failing[:] = graphs, ["cannot be captured"] * graphs
        sums.append(step_of(trainer, 1))
        assert not trainer.graphs
        assert trainer.job.objective.state_dict()["step"] == 1
    assert torch.equal(sums[0], sums[1])
    assert watch.said == ["remark: graphs: goes on without CUDA graphs (cannot be captured)"]


@pytest.mark.slow  # the compiler takes seconds
@pytest.mark.parametrize("make", [lambda: GroupDRO(4), lambda: VariantDRO(4, official(4, vocab_size=9))])
def test_sums_of_a_step_compile_once_and_stay_what_they_are(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from functools import partial

    from torch._dynamo.utils import counters

    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    scoring = make()
    ways = [(way, compiling.fused(way, True)) for way in (scored_sums, counts, score_error)]
    mask = torch.ones(20, 8, dtype=torch.bool)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        loss, reference = (torch.rand(20, 8, generator=generator) for _ in range(2))
        domain = torch.randint(4, (20,), generator=generator)
        given: list[tuple[Any, ...]] = [(scoring.sums, loss, reference, mask, domain, 4), (mask, domain, 4)]
        found = [[way(*arguments) for way in both] for both, arguments in zip(ways, given, strict=False)]
        assert all(torch.equal(*both) for both in found)
        sums = torch.cat([torch.ones(1, 4), found[1][0][None], found[0][0][:3]])
        assert torch.equal(*(way(sums, 8) for way in ways[2]))
        scoring.update(found[0][0][3:])
    assert counters["stats"]["unique_graphs"] == 3
    assert not counters["graph_break"]
