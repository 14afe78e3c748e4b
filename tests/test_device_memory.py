"""What a training holds on its device: arithmetic, what `auto` makes of it, recomputing, and running out."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from doremi.config import TrainingConfig
from doremi.errors import ConfigError, TrainingError
from doremi.model.build import build, count_parameters
from doremi.model.operations import of_model
from doremi.model.presets import shape
from doremi.model.recompute import parts, recompute
from doremi.pipeline.checks import check
from doremi.plan.device import lines
from doremi.rundir import at_once
from doremi.rundir.at_once import on_device, on_host
from doremi.rundir.known import Counts
from doremi.rundir.machine import Host, Machine
from doremi.rundir.memory import Held, Work, fitted, held, logit_bytes
from doremi.training.out_of_memory import memory_or_said
from families import LENGTH, VOCAB, tiny
from graphs import config, known, made
from tolerances import HELD

GIGABYTE = 10**9
CARD = Machine("cuda", True, 16, 2, 80 * GIGABYTE)


# -- computed again ----------------------------------------------------------------------------------------------------


def passed(lm: Any) -> tuple[list[torch.Tensor], int]:
    """Loss and gradients of one batch, and the bytes that were kept between the passes."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage()._cdata for p in (*lm.parameters(), *lm.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    tokens_BT = torch.arange(2 * LENGTH).view(2, LENGTH) % VOCAB
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = lm(input_ids=tokens_BT, use_cache=False).logits.float().square().mean()
    loss.backward()
    return [loss.detach(), *(p.grad for p in lm.parameters() if p.grad is not None)], sum(kept.values())


@pytest.mark.parametrize(
    ("family", "what"),
    [
        ("llama", "block"), ("gpt2", "attention"),
        *(pytest.param(family, what, marks=pytest.mark.slow) for family, what in (
            ("llama", "attention"), ("gpt2", "block"), ("mixtral", "block"), ("mixtral", "attention"),
        )),
    ],
)  # fmt: skip
def test_numbers_are_the_same_to_the_bit(family: str, what: Any) -> None:
    """Also with dropout, which GPT-2 has."""
    torch.manual_seed(0)
    lm = build(tiny(family), VOCAB, LENGTH, 0).train()
    other = copy.deepcopy(lm)
    recompute(other, what)
    one, kept = passed(lm)
    two, less = passed(other)
    assert len(one) == len(two)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert less < kept * (0.5 if what == "block" else 0.95)
    with torch.no_grad():
        tokens_BT = torch.arange(LENGTH)[None]
        assert torch.equal(*(m.eval()(input_ids=tokens_BT, use_cache=False).logits for m in (lm, other)))


@pytest.mark.slow
def test_compiled_too() -> None:
    torch.manual_seed(0)
    lm = build(tiny("llama"), VOCAB, LENGTH, 0).train()
    other = copy.deepcopy(lm)
    recompute(other, "block")
    tokens_BT = torch.arange(LENGTH)[None]
    losses = []
    for model in (lm, other):
        called = torch.compile(model, backend="aot_eager", dynamic=False)
        loss = called(input_ids=tokens_BT, use_cache=False).logits.square().mean()
        loss.backward()
        losses.append([loss.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


def test_a_model_without_named_blocks_is_refused_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = torch.nn.Linear(2, 2)
    assert parts(lm, "block") == []
    lm.config = type("C", (), {"model_type": "odd"})()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"training\.recompute: odd does not say which"):
        recompute(lm, "block")
    asked = config(training={"recompute": "block"})
    monkeypatch.setattr("doremi.model.recompute.blocks", lambda _: [])
    with pytest.raises(ConfigError, match=r"training\.recompute: llama"):
        check(asked, search=True)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def work(preset: str, vocab: int, length: int, *, live: bool = False) -> Work:
    each = of_model(shape(preset, None, {}), vocab, length)
    with torch.device("meta"):
        parameters = count_parameters(build(shape(preset, None, {}), vocab, length, 0))[1]
    counts = Counts(
        1, parameters, each.forward, each.training, each.saved, each.scores, each.layers, each.in_blocks,
        each.in_attention, each.between,
    )  # fmt: skip
    return Work(counts, logit_bytes(length, vocab), live)


def test_what_is_kept_between_the_passes_is_what_a_real_pass_keeps() -> None:
    """Of a small Llama, with and without recomputing; one block's share is there at a time on top of that."""
    torch.manual_seed(0)
    lm = build(shape("0.3m", None, {}), VOCAB, LENGTH, 0).train()
    found = work("0.3m", VOCAB, LENGTH)
    base = TrainingConfig(batch_size=2, precision="float32", compile=False)
    for what in ("none", "block"):
        model = copy.deepcopy(lm)
        recompute(model, what)  # type: ignore[arg-type]
        said = held(base.model_copy(update={"recompute": what}), found, 1)
        assert said is not None
        _, real = passed(model)
        real -= 2 * found.logit_bytes  # of the loss of this test
        one_block = 2 * found.counts.in_blocks // 3 if what == "block" else 0  # while that is computed again
        assert said.activations - one_block == pytest.approx(real, rel=HELD)


def test_micro_batches_are_the_largest_that_fit() -> None:
    """As the paper's 280M, which asks for 290 GB at once; what is chosen fits, and what is next larger does not."""
    found = work("280m", 50_304, 1024)
    asked = TrainingConfig(batch_size=512, accumulation="auto", precision="bfloat16", compile=True)
    chosen = fitted(asked, CARD, found)
    assert (chosen.recompute, chosen.accumulation) == ("none", 8)
    assert total(chosen, found) <= 0.8 * 80 * GIGABYTE
    whole = asked.model_copy(update={"accumulation": 1, "recompute": "none"})
    assert [round(total(one, found) / GIGABYTE) for one in (whole, chosen)] == [296, 41]  # docs/scaling.md
    larger = chosen.model_copy(update={"accumulation": int(chosen.accumulation) // 2})
    assert total(larger, found) > 0.8 * 80 * GIGABYTE
    eight = fitted(asked, replace(CARD, processes=8), found)
    assert eight.accumulation == max(1, int(chosen.accumulation) // 8)


def total(settings: TrainingConfig, work: Work, processes: int = 1) -> int:
    found = held(settings, work, processes)
    assert found is not None
    return found.total


def test_blocks_are_computed_again_only_where_nothing_else_helps() -> None:
    found = work("280m", 50_304, 1024)
    fixed = TrainingConfig(batch_size=64, accumulation=1, precision="bfloat16", compile=True)
    assert fitted(fixed, CARD, found).recompute == "none"
    assert fitted(fixed, replace(CARD, device_memory=30 * GIGABYTE), found).recompute == "block"
    both = fixed.model_copy(update={"accumulation": "auto"})
    chosen = fitted(both, replace(CARD, device_memory=30 * GIGABYTE), found)
    assert (chosen.recompute, int(chosen.accumulation) > 1) == ("none", True)


def test_on_a_cpu_auto_changes_nothing() -> None:
    found = work("0.3m", 512, 64)
    chosen = fitted(TrainingConfig(accumulation="auto"), Machine("cpu", False, 2, 2), found)
    assert (chosen.accumulation, chosen.recompute) == (1, "none")


def test_a_split_model_holds_its_share_and_a_live_reference_counts() -> None:
    found = work("280m", 50_304, 1024, live=True)
    whole = held(TrainingConfig(recompute="none"), found, 8)
    split = held(TrainingConfig(recompute="none", parallel="fsdp"), found, 8)
    copies = held(TrainingConfig(recompute="none", parallel="fsdp", shard_size=2), found, 8)
    assert whole is not None
    assert split is not None
    assert copies is not None
    number = found.counts.parameters
    assert (whole.state, whole.frozen) == (16 * number, 4 * number)
    assert (split.state, split.frozen) == (16 * number // 8, 4 * number // 8)
    assert copies.state == 8 * number
    assert split.activations == whole.activations


def test_the_graph_has_numbers_and_what_they_hold() -> None:
    asked = config(training={"accumulation": "auto"})
    so_far = known(asked, machine=CARD)
    graph = made(asked, so_far)
    node = graph.node("doremi/reference/seed-0")
    assert isinstance(node.spec.settings.accumulation, int)  # type: ignore[union-attr]
    assert isinstance(on_device(asked, graph, node), Held)


def test_a_copy_that_is_written_in_the_background_takes_memory_of_the_host() -> None:
    """Of 280M parameters with AdamW 3.4 GB, beside 4 GB of each process on a GPU. Trainings share the host."""
    asked = config(training={"accumulation": "auto"})
    so_far = known(asked, machine=CARD)
    large = {key: replace(one, parameters=280_000_000) for key, one in so_far.counts.items()}
    graph = made(asked, replace(so_far, counts=large))
    node = graph.node("doremi/reference/seed-0")
    assert on_host(asked, graph, node) == 12 * 280_000_000
    assert any("While it saves, 3.4 GB of the host's memory" in line for line in lines(asked, graph))
    host = Host(16, 20 * GIGABYTE, ("0", "1", "2", "3"))
    assert at_once._fitting(asked, graph, host, [node]) == 2
    small = made(asked, so_far)
    assert on_host(asked, small, small.node("doremi/reference/seed-0")) == 0
    assert not any("host's memory" in line for line in lines(asked, small))
    assert at_once._fitting(asked, small, host, [node]) == 5


# -- running out -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 6.10 GiB. GPU 0 has a total capacity of 79.2 GiB"
            ),
            "main does not fit into the memory of the GPU (tried to allocate 6.10 GiB, total capacity of 79.2 GiB). ",
        ),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000 bytes."
            ),
            "main does not fit into memory (8.0 GB more could not be had). Set training.accumulation",
        ),
    ],
)
def test_too_little_memory_says_what_to_set(error: Exception, said: str) -> None:
    with pytest.raises(TrainingError) as found, memory_or_said("main"):
        raise error
    assert str(found.value).startswith(said)
    assert "\n" not in str(found.value)
