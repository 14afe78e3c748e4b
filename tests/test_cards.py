"""What is otherwise on a GPU, as far as it can be told without one: threads, room, reading ahead, falling back."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch._dynamo.config as dynamo
from safetensors.torch import load_file

from doremi.config import TrainingConfig
from doremi.distributed import World
from doremi.errors import TrainingError
from doremi.events.event import Event, Said, Stepped
from doremi.model import build as models
from doremi.objectives.dro import GroupDRO
from doremi.objectives.plain import PlainObjective
from doremi.objectives.reweighting import Reweighting
from doremi.objectives.variants import VariantDRO, official
from doremi.pipeline import look, measured, order_cost, trainings
from doremi.pipeline.driver import settle
from doremi.pipeline.host import this_host
from doremi.pipeline.preparing import prepare
from doremi.pipeline.trainings import fresh_model, make_job
from doremi.pipeline.work import plan_now
from doremi.pipeline.workspace import Workspace, open_workspace
from doremi.rundir import costs
from doremi.rundir.context import Context
from doremi.rundir.known import Counts
from doremi.rundir.layout import TrainingFolder
from doremi.rundir.machine import Machine, repeats, resolved
from doremi.rundir.memory import copied
from doremi.rundir.node import training_place
from doremi.rundir.specs import TrainingSpec
from doremi.training import checkpoint, compiling, determinism, loop, saver
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
    monkeypatch.setattr(compiling, "BLOCKS_ON", ("cpu",))
    for compile_it, whole_layers, warnings in ((True, 8, 1), (True, 0, 1), (False, 8, 0)):
        monkeypatch.setattr(compiling, "WHOLE_LAYERS", whole_layers)
        watch = Heard()
        trainer = Trainer(
            job_of(
                space,
                f"given up {compile_it} {whole_layers}",
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


# -- saving in the background ------------------------------------------------------------------------------------------


def saved_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def short(spec: TrainingSpec) -> TrainingSpec:
    settings = {"steps": 6, "checkpoint_every": 2, "evaluate_every": 6, "log_every": 3}
    return replace(spec, settings=spec.settings.model_copy(update=settings))


@pytest.fixture(scope="module")
def at_once(space: Workspace, spec: TrainingSpec) -> dict[str, bytes]:
    """All checkpoints of a training that waits for each."""
    with mock.patch.multiple(checkpoint, KEEP=9, keep_last=lambda _: None):
        loop.train(job_of(space, "at once", short(spec)), space.world, Silent())
    return saved_bytes(space.root / "at once" / "checkpoint")


@pytest.fixture
def in_background(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Everything is saved so; steps of what was begun."""
    begun, right = [], checkpoint.begin

    def begin(folder: Path, step: int, *given: Any, **options: Any) -> checkpoint.Saving:
        begun.append(step)
        return right(folder, step, *given, **options)

    monkeypatch.setattr(saver, "saves_in_background", lambda *_: True)
    monkeypatch.setattr(checkpoint, "begin", begin)
    return begun


def test_what_is_saved_in_the_background_has_the_bytes_of_what_is_saved_at_once(
    space: Workspace,
    spec: TrainingSpec,
    at_once: dict[str, bytes],
    in_background: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of the checkpoints in the middle, though the next step begins before they are written."""
    save_file = checkpoint.save_file

    def slow(tensors: Any, path: Path) -> None:
        time.sleep(0.05)  # the weights have moved when this ends
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", slow)
    with mock.patch.multiple(checkpoint, KEEP=9, keep_last=lambda _: None):
        loop.train(job_of(space, "background", short(spec)), space.world, Silent())
    assert in_background == [2, 4, 6]
    assert len(at_once) == 9
    assert saved_bytes(space.root / "background" / "checkpoint") == at_once


class Killed(BaseException):
    """Nothing hears it, so that all stays as it is at this moment, as after SIGKILL (tests/kill.py sends it)."""


def test_a_training_that_is_gone_while_it_saves_goes_on_from_the_checkpoint_before(
    space: Workspace,
    spec: TrainingSpec,
    at_once: dict[str, bytes],
    in_background: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, save_file, written = short(spec), checkpoint.save_file, threading.Event()
    folder = space.root / "killed" / "checkpoint"

    def half(tensors: Any, path: Path) -> None:
        save_file(tensors, path)
        if path.parent.name.startswith(".step-00000004"):
            path.write_bytes(path.read_bytes()[:1000])
            written.set()
            time.sleep(0.2)

    class Dies(Silent):
        def emit(self, event: Event) -> None:
            if isinstance(event, Stepped) and event.step == 5:
                assert written.wait(30)
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", half)
        with pytest.raises(Killed):
            loop.train(job_of(space, "killed", spec), space.world, Dies())
    assert [path.name for path in sorted(folder.iterdir())] == [".step-00000004.tmp", "step-00000002"]
    loop.train(job_of(space, "killed", spec), space.world, Silent())
    assert in_background == [2, 4, 4, 6]
    last = {name: data for name, data in at_once.items() if name.startswith("step-00000006")}
    assert saved_bytes(folder) == last


def test_what_is_on_its_way_is_waited_for(
    tmp_path: Path, in_background: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, save_file, tensor = threading.Event(), checkpoint.save_file, torch.zeros(3)

    def waits(tensors: Any, path: Path) -> None:
        assert held.wait(30)
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", waits)
    with saver.Saver(tmp_path, World(0, 1, CPU), sharded=False) as saving:
        saving.save(1, {"x": tensor}, {})
        tensor += 1
        assert saving.is_writing()
        assert checkpoint.saved(tmp_path) == []
        threading.Timer(0.1, held.set).start()
        saving.save(2, {"x": tensor}, {})
        assert [path.name for path in checkpoint.saved(tmp_path)] == ["step-00000001"]
    assert [path.name for path in checkpoint.saved(tmp_path)] == ["step-00000001", "step-00000002"]
    numbers = [load_file(path / "tensors.safetensors")["x"].tolist() for path in checkpoint.saved(tmp_path)]
    assert numbers == [[0, 0, 0], [1, 1, 1]]
    with contextlib.suppress(RuntimeError), saving:
        saving.save(3, {"x": tensor}, {})
        raise RuntimeError
    assert checkpoint.saved(tmp_path)[-1].name == "step-00000003"  # a training that ends badly has what it saved


@pytest.mark.usefixtures("in_background")
def test_a_disk_that_is_full_is_told_by_the_next_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    saving = saver.Saver(tmp_path, World(0, 1, CPU), sharded=False)
    saving.save(1, {"x": torch.zeros(1)}, {})
    saving.finish()
    monkeypatch.setattr(checkpoint, "save_file", full)
    saving.save(2, {"x": torch.zeros(1)}, {})
    with pytest.raises(OSError, match="No space"):
        saving.save(3, {"x": torch.zeros(1)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_card_saves_in_the_background_from_two_gigabytes_on_and_the_copy_counts() -> None:
    small, large = (Counts(1, number, 1, 1, 1) for number in (100_000_000, 280_000_000))
    card = Machine("cuda", True, 16, 2, 80 * GIGABYTE)
    adamw, adafactor = TrainingConfig(), TrainingConfig(optimizer="adafactor")
    assert copied(adamw, card, small) == 0
    assert copied(adamw, card, large) == 12 * 280_000_000
    assert copied(adafactor, card, large) == 0
    assert copied(adamw, replace(card, device="cpu"), large) == 0
    assert copied(adamw.model_copy(update={"parallel": "fsdp"}), replace(card, processes=8), large) == 0


@pytest.mark.slow
def test_shards_saved_in_the_background_have_the_bytes_of_those_saved_at_once(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parent / "background.py"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run([*words, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (saved_bytes(tmp_path / name) for name in ("at once", "background"))
    shards = [name for name in one if name.endswith(".safetensors")]
    assert len(shards) == 2
    assert one.keys() == other.keys()
    for name in shards:
        assert parts(one[name]) == parts(other[name])
    assert one["step-00000001/state.json"] == other["step-00000001/state.json"]
    found = checkpoint.latest(tmp_path / "background", pytest.fail, World(0, 1, CPU))
    assert found is not None
    assert found.step == 1


def parts(file: bytes) -> tuple[Any, bytes]:
    """Header and numbers of a safetensors file; two remarks in the header come in any order each time it is written."""
    start = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:start]), file[start:]


# -- what is measured or tried once ------------------------------------------------------------------------------------


def out_of_memory_below(number: int, patch: pytest.MonkeyPatch) -> None:
    """As on a GPU that has too little for larger micro-batches."""
    right = loop.Trainer.forward_backward

    def forward_backward(self: Trainer, batches: list[DeviceBatch]) -> torch.Tensor:
        if len(batches) < number:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 6.10 GiB")
        return right(self, batches)

    patch.setattr(loop.Trainer, "forward_backward", forward_backward)


def test_micro_batches_are_halved_where_the_gpu_says_so_and_that_is_recorded(
    space: Workspace, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, watch = space.directory.whole_corpus(), Heard()
    training = space.config.training.model_copy(update={"accumulation": "auto"})
    auto = replace(space, config=space.config.model_copy(update={"training": training}), watch=watch)
    spec = replace(short(spec), device_memory=80 * GIGABYTE)
    folder = TrainingFolder(space.root / training_place(spec.key))

    def done(number: int, where: Workspace) -> dict[str, bytes]:
        settings = spec.settings.model_copy(update={"accumulation": number})
        trainings.train(where, corpus, replace(spec, settings=settings), "small")
        found = saved_bytes(folder.folder / "checkpoint")
        shutil.rmtree(folder.folder)
        return found

    four = done(4, space)
    out_of_memory_below(4, monkeypatch)
    assert done(1, auto) == four
    less = "remark: small: the GPU has too little memory. It goes on in {} micro-batches a step."
    assert watch.said == [less.format(2), less.format(4)]
    (least,) = look.machine(space.root).micro_batches.values()  # type: ignore[union-attr]
    assert least == 4
    asked = Context(auto.config, look.look(auto.config, space.directory, corpus)).settings
    assert asked is not None
    assert asked.accumulation == 4  # of other seeds and candidates
    with pytest.raises(TrainingError, match=r"tried to allocate 6.10 GiB\). Set training.accumulation"):
        done(1, space)  # where the user has said how many
    shutil.rmtree(folder.folder)
    out_of_memory_below(10**6, monkeypatch)
    with pytest.raises(TrainingError, match="does not fit into the memory of the GPU"):
        done(spec.settings.batch_size, auto)
    shutil.rmtree(folder.folder)


@pytest.mark.parametrize(("slower", "on"), [(0.05, True), (0.2, False)])
def test_a_repeat_to_the_byte_is_bought_where_it_is_cheap(
    slower: float, on: bool, tmp_path: Path, space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The passes are real, the clock is not: each takes a second, or more where an order is kept."""
    now, keeps, passes = [0.0], [False], [0]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(determinism, "set_deterministic", lambda kept, _: keeps.__setitem__(0, kept))
    right = order_cost.proxy_step

    def proxy_step(*given: Any) -> Any:
        step = right(*given)

        def timed() -> None:
            step()
            passes[0] += 1
            now[0] += 1 + slower * keeps[0]

        return timed

    monkeypatch.setattr(order_cost, "proxy_step", proxy_step)
    monkeypatch.setattr(determinism, "cost", partial(determinism.cost, clock=lambda: now[0]))
    monkeypatch.setattr(determinism, "ROUNDS", 1)
    monkeypatch.setattr(determinism, "STEPS", 2)
    training = space.config.training.model_copy(update={"deterministic": "auto"})
    auto = replace(space, config=space.config.model_copy(update={"training": training}))
    corpus = space.directory.whole_corpus()
    known = look.look(auto.config, space.directory, corpus)
    card = Machine("cuda", True, 16, 2, 80 * GIGABYTE)
    found = order_cost.with_order_cost(auto, corpus, known, card)
    assert found == replace(card, deterministic_cost=pytest.approx(slower, abs=1e-3))
    assert resolved(auto.config, found, 1000).deterministic is on
    assert repeats(auto.config, found) == ("bytes" if on else "distribution")
    assert keeps == [False]
    number = passes[0]
    assert order_cost.with_order_cost(auto, corpus, replace(known, machine=found), card) == found  # once
    assert order_cost.with_order_cost(auto, corpus, known, card) == found  # and once for all runs on this device
    assert order_cost.with_order_cost(auto, corpus, known, replace(card, device="cpu")).deterministic_cost is None
    set_by_hand = auto.config.model_copy(update={"training": training.model_copy(update={"deterministic": True})})
    assert order_cost.with_order_cost(replace(auto, config=set_by_hand), corpus, known, card) == card
    split = auto.config.model_copy(update={"training": training.model_copy(update={"parallel": "fsdp"})})
    in_two = replace(auto, config=split, world=World(0, 2, CPU))
    assert order_cost.with_order_cost(in_two, corpus, known, replace(card, processes=2)).deterministic_cost is None
    assert passes[0] == number
    halved = auto.config.model_copy(update={"training": training.model_copy(update={"precision": "bfloat16"})})
    assert order_cost.with_order_cost(replace(auto, config=halved), corpus, known, card) == found  # another question
    assert passes[0] == 2 * number
    (kept, other) = (tmp_path / "doremi" / measured.FOLDER).iterdir()
    for path in (kept, other):
        path.write_text(path.read_text().replace("cost", "coast"))
    assert order_cost.with_order_cost(auto, corpus, known, card) == found  # damaged: it is measured again
    assert passes[0] == 3 * number


def test_an_operation_without_an_order_makes_it_dear() -> None:
    def step() -> None:
        raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set")

    assert determinism.cost(step, CPU) == determinism.IMPOSSIBLE
