"""Models that no process holds as a whole: their first values, what a process holds of them, and what is saved."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from doremi.config import TrainingConfig
from doremi.distributed import Shards, World, blocks
from doremi.errors import ConfigError
from doremi.model import parts
from doremi.model.build import TokenLosses, build, load, save
from doremi.model.parts import build_parts
from doremi.model.presets import shape
from doremi.model.stand_in import Keeper, tried
from doremi.pipeline import sharded
from doremi.pipeline.sharded import shards_of
from doremi.training.optimizer import make_optimizer
from families import FAMILIES, LENGTH, VOCAB, tiny
from tolerances import FLOAT32_STEPS, HELD

FLOAT32, BFLOAT16 = 4, 2


# -- first values ------------------------------------------------------------------------------------------------------


def check_parts(description: dict[str, Any]) -> bool:
    """The parts of a model are those of the whole one; False where it had to be built as a whole."""
    torch.manual_seed(3)
    whole = build(description, VOCAB, LENGTH, 0)
    after = torch.get_rng_state()
    torch.manual_seed(3)

    def make() -> Any:
        return build(description, VOCAB, LENGTH, 0)

    built: list[Any] = []
    lm, found = build_parts(lambda: built.append(make()) or built[-1], lambda tensor: tensor.clone())
    assert torch.equal(torch.get_rng_state(), after)
    assert list(found) == [name for name, _ in whole.named_parameters()]
    for name, parameter in whole.named_parameters():
        assert torch.equal(found[name].nan_to_num(), parameter.nan_to_num()), name
    for name, buffer in whole.named_buffers():
        assert torch.equal(dict(lm.named_buffers())[name], buffer), name
    assert all(parameter.is_meta for parameter in lm.parameters())
    assert [name for name, _ in lm.named_parameters()] == list(found)  # what is tied stays tied
    return len(built) == 1


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral", "mamba", "gpt_neox"])
def test_the_parts_of_a_model_are_those_of_the_whole(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LARGE", 8)
    assert check_parts(tiny(family))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_of_every_family(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "LARGE", 8)
    try:
        with torch.device("meta"):
            lm = build(tiny(family), VOCAB, LENGTH, 0)
    except ConfigError as error:
        pytest.skip(str(error))
    if sum(parameter.numel() for parameter in lm.parameters()) > 5_000_000:
        pytest.skip("no small model of this family")
    check_parts(tiny(family))


def test_large_parameters_have_memory_one_at_a_time() -> None:
    """At any time two of ours are whole at most: the one that is filled, and the one whose part is taken."""
    sizes: list[int] = []

    def part(whole: Tensor) -> Tensor:
        sizes.append(sum(m.weight.untyped_storage().size() for m in made if isinstance(m, torch.nn.Linear)))
        return whole[:1].clone()

    made: list[torch.nn.Module] = []

    def make() -> torch.nn.Module:
        for _ in range(6):
            made.append(torch.nn.Linear(512, 512))
        for layer in made:
            torch.nn.init.normal_(layer.weight)  # type: ignore[arg-type]
        return torch.nn.Sequential(*made)

    build_parts(make, part)
    assert len(sizes) >= 6
    assert max(sizes) <= 2 * 512 * 512 * FLOAT32


def test_a_value_that_is_gone_is_not_made_up() -> None:
    """A second change in place needs the first value: the model is then built as a whole, and is the same."""

    def make() -> torch.nn.Module:
        layers = [torch.nn.Linear(512, 512) for _ in range(2)]
        with torch.no_grad():
            layers[0].weight.mul_(2)
        return torch.nn.Sequential(*layers)

    torch.manual_seed(0)
    whole = make()
    torch.manual_seed(0)
    _, found = build_parts(make, lambda tensor: tensor.clone())
    assert all(torch.equal(found[name], parameter) for name, parameter in whole.named_parameters())


# -- what is found out about them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral"])
def test_a_stand_in_says_what_the_model_would(family: str) -> None:
    description = tiny(family)
    torch.manual_seed(0)
    whole = TokenLosses(build(description, VOCAB, LENGTH, 0), LENGTH)
    torch.manual_seed(0)
    lm, kept = build_parts(lambda: build(description, VOCAB, LENGTH, 0), Keeper(lambda part: part.clone(), tries=True))
    found = tried(lm, kept, LENGTH)
    module = TokenLosses(lm, LENGTH)
    found.apply(module)
    assert module.linear_head == whole.linear_head
    assert module.lm.config._attn_implementation == whole.lm.config._attn_implementation


# -- what a process holds ----------------------------------------------------------------------------------------------


class Exchanged(TorchDispatchMode):
    """The largest tensors that processes gather, and that they add up and split, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = self.reduced = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        sizes = [t.numel() * t.element_size() for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if "allgather" in str(func):
            self.gathered = max(self.gathered, *sizes)
        if "reduce_scatter" in str(func):
            self.reduced = max(self.reduced, *sizes)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def pretended(rank: int, number: int) -> Iterator[World]:
    """One of many processes, of which the others are only pretended."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=number)
    try:
        yield World(rank, number, torch.device("cpu"))
    finally:
        dist.destroy_process_group()


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> Iterator[World]:
    with pretended(0, request.param) as world:
        yield world


@pytest.mark.parametrize(("rank", "size"), [(0, None), (20, None), (31, None), (31, 4)])
def test_each_process_gets_its_rows_and_what_is_tied_stays_tied(rank: int, size: int | None) -> None:
    """Of 96 and 100 rows over 32 processes: even parts, uneven ones, and the last processes get nothing."""
    description = {**shape("0.3m", None, {}), "num_hidden_layers": 1}
    torch.manual_seed(0)
    whole = build(description, 100, LENGTH, 0)
    with pretended(rank, 32) as world:
        shards = Shards("float32", size)
        torch.manual_seed(0)
        lm, kept = build_parts(lambda: build(description, 100, LENGTH, 0), lambda part: world.part(part, shards))
        module = world.shard(TokenLosses(lm, LENGTH), shards)
        world.fill(module, {f"lm.{name}": part for name, part in kept.items()})
        assert module.lm.get_input_embeddings().weight is module.lm.get_output_embeddings().weight
        assert len(list(module.parameters())) == len(list(whole.parameters()))
        number = size or 32
        for name, parameter in whole.named_parameters():
            chunks = dict(enumerate(parameter.detach().chunk(number)))
            mine = chunks.get(rank % number, parameter.detach()[:0])
            assert torch.equal(local(module.lm.get_parameter(name)), mine), name


def shapes(description: dict[str, Any], vocab: int, length: int) -> tuple[dict[str, tuple[int, ...]], list[list[str]]]:
    """Of the parameters of a GPT-2 or Llama by their names, and which of them are gathered together."""
    with torch.device("meta"):
        lm = build(description, vocab, length, 0)
    found = {name: tuple(parameter.shape) for name, parameter in lm.named_parameters()}
    groups: dict[str, list[str]] = {}
    for name in found:
        layer = name.split(".")[2]
        groups.setdefault(layer if layer.isdigit() else "", []).append(name)
    return found, list(groups.values())


def rows(shape: tuple[int, ...], number: int) -> int:
    """Numbers of the largest of so many parts of a tensor, which is split by rows."""
    total = 1
    for size in shape[1:]:
        total *= size
    return -(-shape[0] // number) * total


@pytest.mark.parametrize(
    ("processes", "preset", "vocab", "size"),
    [
        (4, "0.3m", 512, None),
        pytest.param(64, "8b", 256_000, None, marks=pytest.mark.slow),
        pytest.param(64, "8b", 256_000, 8, marks=pytest.mark.slow),
    ],
    indirect=["processes"],
)
def test_a_process_holds_its_parts_and_gathers_one_block(
    processes: World, preset: str, vocab: int, size: int | None
) -> None:
    """Two micro-batches on tensors without numbers, and the same counted from the parameters' shapes alone."""
    description, length, number = shape(preset, None, {}), 1024, size or processes.size
    with torch.device("meta"):
        module = TokenLosses(build(description, vocab, length, 0), length)
    shards = Shards("bfloat16", size)
    module = processes.shard(module, shards)
    assert len(blocks(module)) == (3 if preset == "0.3m" else 32)  # are still known as such
    exchanged = Exchanged()
    with FakeTensorMode(allow_non_fake_inputs=True):
        empty = {name: torch.empty(rows(tuple(p.shape), number)) for name, p in module.named_parameters()}
        sized = {name: one.view(-1, *module.get_parameter(name).shape[1:]) for name, one in empty.items()}
        processes.fill(module, sized)
        for name, buffer in list(module.named_buffers()):
            owner, _, last = name.rpartition(".")
            module.get_submodule(owner)._buffers[last] = torch.empty_like(buffer, device="cpu")
        optimizer = make_optimizer(module, TrainingConfig())
        tokens_BT = torch.zeros(1, 64, dtype=torch.int64)
        for last in (False, True):
            with exchanged, processes.gradients_shared(module, last):
                module(tokens_BT, tokens_BT).sum().backward()
            # split after every micro-batch; copies of a model wait for the last one
            assert all((p.grad is not None) == (last or size is None) for p in module.parameters())
        optimizer.step()
        kept = [local(p) for p in module.parameters()]
        gradients = [local(p.grad) for p in module.parameters() if p.grad is not None]
        states = [local(v) for state in optimizer.state.values() for v in state.values() if v.ndim]
    counted, groups = shapes(description, vocab, length)
    mine = sum(rows(shape, number) for shape in counted.values())
    largest = max(sum(number * rows(counted[name], number) for name in group) for group in groups)
    assert sum(t.numel() * t.element_size() for t in kept) == FLOAT32 * mine
    assert sum(t.numel() * t.element_size() for t in gradients) == FLOAT32 * mine
    assert sum(t.numel() * t.element_size() for t in states) == 2 * FLOAT32 * mine
    assert exchanged.gathered == BFLOAT16 * largest
    assert exchanged.reduced == FLOAT32 * largest
    if size is None and preset == "8b":
        page = (Path(__file__).resolve().parents[1] / "docs" / "scaling.md").read_text()
        sizes = (FLOAT32 * mine, FLOAT32 * mine, 2 * FLOAT32 * mine, BFLOAT16 * largest, FLOAT32 * largest)
        assert f"| {number} | {' | '.join(f'{one / 1e9:.2f} GB' for one in sizes)} |" in page


# -- what is saved -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_a_model_in_several_files_is_the_one_in_one_file(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor, and what lies beside them; Mixtral's experts have other names on the disk than in memory."""
    tokenizer, world = tmp_path / "tokenizer", World(0, 1, torch.device("cpu"))
    tokenizer.mkdir()
    torch.manual_seed(0)
    lm = build(tiny(family), VOCAB, LENGTH, 0)
    save(lm, tokenizer, tmp_path / "whole")
    monkeypatch.setattr(sharded, "FILE_BYTES", 5000)
    sharded.save_sharded(lm, tokenizer, tmp_path / "parts", world)
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    files = list((tmp_path / "parts").glob("*.safetensors"))
    assert len(files) > 2 or family == "mixtral"
    one, other = (dict(load(tmp_path / name).named_parameters()) for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(torch.equal(other[name], parameter) for name, parameter in one.items())


def local(tensor: Any) -> Tensor:
    return tensor.to_local()


def test_processes_must_divide_into_copies() -> None:
    settings = TrainingConfig(parallel="fsdp", shard_size=3)
    with pytest.raises(ConfigError, match="4 processes cannot be divided into groups of 3"):
        shards_of(settings, World(0, 4, torch.device("cpu")))
    with pytest.raises(ValueError, match="set parallel to fsdp"):
        TrainingConfig(shard_size=2)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "size"), [(3, 3), (4, 2)])
def test_adafactor_over_shards_is_pytorchs(number: int, size: int, tmp_path: Path) -> None:
    """Over one copy of the model, and over two that are split; what is kept is whole on every process."""
    launched("adafactor.py", number, str(size), str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text()) <= FLOAT32_STEPS


def launched(script: str, number: int, *arguments: str, **environment: str) -> None:
    """A script of this folder in so many processes."""
    path = str(Path(__file__).resolve().parent / script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", path]
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_the_memory_of_each_of_four_processes_is_what_arithmetic_says(tmp_path: Path) -> None:
    """In parameters, gradients and the optimiser's state; buffers of exchanges are given back after a step."""
    limits = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # what is freed goes back at once
    launched("holds.py", 4, "30m", "8192", str(tmp_path), **limits)
    counted, _ = shapes(shape("30m", None, {}), 8192, 16)
    expected = 4 * FLOAT32 * sum(rows(one, 4) for one in counted.values())
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    assert len(found) == 4
    for one in found:
        assert one["parameters"] + one["gradients"] + one["optimizer"] == expected
        assert one["rise"] == pytest.approx(expected, rel=HELD)
