"""Models: the paper's sizes, token losses against the plain formula, memory-saving paths against the plain one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch._dynamo.utils import counters
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AttentionInterface

import families
from doremi.corpus.tokenizer import TextTokenizer
from doremi.errors import ConfigError, RunError
from doremi.model import build as models
from doremi.model import losses as ways
from doremi.model.attention import NAME
from doremi.model.build import TokenLosses, build, count_parameters
from doremi.model.head import is_linear
from doremi.model.losses import chunked_losses, operator_losses, plain_losses
from doremi.model.presets import PRESETS, shape
from doremi.model.room import logits_room
from doremi.objectives.dro import weighted_loss
from doremi.pipeline.trainings import padding_id
from tolerances import BFLOAT16, FLOAT32, GRADIENT

# The paper's table 9 (V = 256,000): non-embedding and tied total, as printed in the column of computed counts
TABLE_9 = {
    "70m": (2.4e6, 68e6),
    "150m": (18.9e6, 150e6),
    "280m": (84.9e6, 282e6),
    "510m": (252e6, 514e6),
    "760m": (330e6, 658e6),
    "1b": (805e6, 1.33e9),
    "8b": (8.59e9, 9.6e9),
}


@pytest.mark.parametrize("name", TABLE_9)
def test_paper_presets_have_the_papers_sizes(name: str) -> None:
    """Within 2 %: the table prints two or three digits and leaves out biases, norms and positions."""
    with torch.device("meta"):
        lm = build(shape(name, None, {}), 256_000, 1024, 0)
    assert count_parameters(lm) == pytest.approx(TABLE_9[name], rel=0.02)
    assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("name", "body"), [("0.1m", 0.1e6), ("0.3m", 0.3e6), ("1m", 1e6), ("3m", 3e6), ("10m", 10e6), ("30m", 30e6)]
)
def test_small_presets_are_named_by_their_body(name: str, body: float) -> None:
    with torch.device("meta"):
        lm = build(shape(name, None, {}), 8192, 256, 0)
    assert count_parameters(lm)[0] == pytest.approx(body, rel=0.12)


def tiny(architecture: str = "llama", vocab_size: int = 50) -> TokenLosses:
    torch.manual_seed(0)
    small = {
        "llama": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    }[architecture]
    return TokenLosses(build({"architecture": architecture, **small}, vocab_size, 12, 0), 12)


def windows(vocab_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    block = torch.randint(0, vocab_size, (2, 13), generator=generator)
    return block[:, :-1], block[:, 1:]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_token_losses_are_those_of_transformers(architecture: str) -> None:
    module, (inputs, labels) = tiny(architecture), windows()
    logits = module.lm(input_ids=inputs).logits
    expected = -functional.log_softmax(logits, dim=-1).gather(-1, labels[..., None])[..., 0]
    loss = module(inputs, labels)
    assert loss.shape == labels.shape
    assert loss.flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=FLOAT32)


HAS_OPERATOR = hasattr(torch.nn, "LinearCrossEntropyOptions")
NEEDS_OPERATOR = pytest.mark.skipif(not HAS_OPERATOR, reason="PyTorch before 2.13 has no chunked linear_cross_entropy")
WAYS = [pytest.param(operator_losses, marks=NEEDS_OPERATOR), chunked_losses]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("way", WAYS)
def test_paths_without_all_logits_agree_with_the_plain_one(
    architecture: str, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "CHUNK_TOKENS", 7)
    monkeypatch.setattr(models, "linear_losses", way)
    weight_K, domain_B, mask_BT = torch.tensor([0.9, 0.1]), torch.tensor([1, 0]), torch.ones(2, 12, dtype=torch.bool)
    results = []
    for chunked in (False, True):
        module, (inputs, labels) = tiny(architecture), windows()
        monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", 0 if chunked else 10**9)
        loss = module(inputs, labels)
        weighted_loss(loss, mask_BT, domain_B, weight_K).backward()
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in module.parameters()])))
    assert_alike(*results)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_head_by_itself_with_and_without_bias(way: Any, bias: bool) -> None:
    results = []
    for losses in (plain_losses, partial(way, chunk=9)):
        torch.manual_seed(3)
        hidden, label, weight = torch.randn(40, 8).requires_grad_(), torch.randint(30, (40,)), torch.rand(40)
        head = torch.nn.Linear(8, 30, bias=bias)
        loss = losses(hidden, head, label)
        (weight * loss).sum().backward()
        results.append((loss.detach(), torch.cat([t.grad.flatten() for t in (hidden, *head.parameters())])))
        with torch.no_grad():
            assert losses(hidden, head, label).tolist() == pytest.approx(loss.tolist(), rel=FLOAT32)
    assert_alike(*results)


def assert_alike(plain: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Losses token by token, and the gradient of all parameters as one vector."""
    assert other[0].flatten().tolist() == pytest.approx(plain[0].flatten().tolist(), rel=FLOAT32)
    assert (other[1] - plain[1]).norm() / plain[1].norm() < GRADIENT


def test_a_head_that_is_not_linear_takes_the_models_own_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row at a time where they are too large: scaled logits must not be lost on the way."""
    torch.manual_seed(0)
    module, (inputs, labels) = TokenLosses(scaled_head(), 12), windows()
    results = []
    for limit in (10**9, 0):
        monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", limit)
        module.zero_grad()
        loss = module(inputs, labels)
        loss.sum().backward()
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in module.parameters()])))
    logits = module.lm(input_ids=inputs).logits
    expected = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    assert results[0][0].flatten().tolist() == pytest.approx(expected.tolist(), rel=FLOAT32)
    assert_alike(*results)


@pytest.mark.parametrize(("limit", "rows"), [(0, 1), (2 * 12 * 50 * 4, 2), (3 * 12 * 50 * 4 - 1, 2)])
def test_rows_at_once_are_those_that_the_limit_holds(limit: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", limit)
    module, seen = TokenLosses(scaled_head(), 12), []
    module.lm.register_forward_pre_hook(lambda *a: seen.append(a[2]["input_ids"].shape[0]), with_kwargs=True)
    with torch.no_grad():
        module(torch.zeros(4, 12, dtype=torch.int64), torch.zeros(4, 12, dtype=torch.int64))
    assert seen == [rows] * (4 // rows)


def largest_allocation(work: Callable[[], object]) -> int:
    """Bytes of the largest piece of memory that is asked for, also inside of PyTorch's own operators."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    return max(event.nbytes() for event in events if event.name() == "[memory]")


@pytest.mark.parametrize("way", WAYS)
def test_all_logits_never_exist_where_they_are_too_large(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 tokens and 1,000 entries, float32, in chunks of 6 tokens."""
    monkeypatch.setattr(models, "CHUNK_TOKENS", 6)
    monkeypatch.setattr(models, "linear_losses", way)
    module, (inputs, labels) = tiny(vocab_size=1000), windows(1000)
    for limit, expected in ((10**9, 24 * 1000 * 4), (0, 16 * 1000 * 4)):  # the second: the head's gradient
        monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", limit)
        assert largest_allocation(lambda: module(inputs, labels).sum().backward()) == expected
    module.requires_grad_(False)
    assert largest_allocation(lambda: module(inputs, labels)) == 6 * 1000 * 4


def test_each_call_decides_by_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation passes are larger than a micro-batch of training may be."""
    monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", 24 * 50 * 4)
    calls: list[int] = []
    monkeypatch.setattr(
        models, "linear_losses", lambda h, head, label, chunk: calls.append(len(h)) or plain_losses(h, head, label)
    )
    module, (inputs, labels) = tiny(), windows()
    module(inputs, labels)
    assert calls == []
    module(inputs.repeat(2, 1), labels.repeat(2, 1))
    assert calls == [48]


def test_rows_longer_than_was_said_are_refused() -> None:
    module, (inputs, labels) = tiny(), windows()
    with pytest.raises(ValueError, match="24 tokens in a model made for 12"):
        module(inputs.reshape(1, 24), labels.reshape(1, 24))


def chosen_way(monkeypatch: pytest.MonkeyPatch, hidden: torch.Tensor) -> str:
    """Which of the ways `linear_losses` takes now."""
    calls: list[str] = []
    for name in ("operator_losses", "chunked_losses"):
        monkeypatch.setattr(ways, name, lambda *_, name=name, **__: calls.append(name))
    ways.linear_losses(hidden, torch.nn.Linear(8, 30), torch.zeros(40, dtype=torch.int64), 9)
    (name,) = calls
    return name


def test_operator_where_it_is_and_losses_stay_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = torch.zeros(40, 8)
    monkeypatch.setattr(torch.nn, "LinearCrossEntropyOptions", object, raising=False)
    assert chosen_way(monkeypatch, hidden) == "operator_losses"
    assert chosen_way(monkeypatch, hidden.bfloat16()) == "chunked_losses"
    with torch.autocast("cpu", torch.bfloat16):
        assert chosen_way(monkeypatch, hidden) == "chunked_losses"
    monkeypatch.delattr(torch.nn, "LinearCrossEntropyOptions")
    assert chosen_way(monkeypatch, hidden) == "chunked_losses"


def test_under_autocast_logits_are_those_of_the_plain_way() -> None:
    """The head's product is bfloat16's, the rest float32: losses are those of all logits, not float32's."""
    torch.manual_seed(3)
    hidden, label, weight = torch.randn(40, 64).requires_grad_(), torch.randint(30, (40,)), torch.rand(40)
    head = torch.nn.Linear(64, 30)
    results = []
    for losses in (plain_losses, partial(ways.linear_losses, chunk=9)):
        head.zero_grad()
        hidden.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            loss = losses(hidden, head, label)
        (weight * loss).sum().backward()
        assert loss.dtype == torch.float32
        results.append((loss.detach(), hidden.grad))
    assert torch.equal(results[0][0], results[1][0])
    differs = (results[0][1] - results[1][1]).norm() / results[0][1].norm()
    assert differs < BFLOAT16 / 100  # one logit's gradient in a thousand is rounded the other way
    exact = plain_losses(hidden, head, label).detach()
    assert 1e-4 < float((results[1][0] - exact).abs().max()) < 0.1  # bfloat16 was at work
    assert not torch.equal(results[1][0], results[1][0].bfloat16().float())  # and not on the losses


def test_the_heads_gradient_adds_up_in_float32() -> None:
    """128 chunks under autocast are as near to float32 as all logits at once: sums of bfloat16 are five times worse."""
    torch.manual_seed(3)
    hidden, label, weight = torch.randn(512, 16).requires_grad_(), torch.randint(20, (512,)), torch.rand(512)
    head, found = torch.nn.Linear(16, 20), []
    for losses, autocast in (
        (plain_losses, False), (plain_losses, True), (partial(chunked_losses, chunk=4), True),
    ):  # fmt: skip
        head.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = losses(hidden, head, label)
        (weight * loss).sum().backward()
        assert head.weight.grad is not None
        found.append(head.weight.grad.clone())
    exact, plain, chunks = found
    assert (chunks - exact).norm() < 1.1 * (plain - exact).norm() < BFLOAT16 * exact.norm()


class Products(TorchDispatchMode):
    """Counts matrix products of layers; attention's have an operator of their own."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device_memory", "products"), [(80 * 10**9, 66), (4 * 10**9, 71), (None, 195)])
def test_products_of_a_step_on_a_card(
    device_memory: int | None, products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """132 x 256 tokens at 0.3m, vocabulary 8,192: 22 layers, forward once, backward twice; a chunk of the head: four.

    These are the products that a compiler is given. No card: tensors have no data, and its memory is told.
    """
    description = shape("0.3m", None, {})
    with torch.device("meta"):
        module = TokenLosses(build(description, 8192, 256, 0), 256)
        tokens = torch.zeros(132, 256, dtype=torch.int64)
    module.linear_head = True  # which cannot be tried without data
    AttentionInterface.register(NAME, AttentionInterface()["sdpa"])
    module.lm.set_attn_implementation(NAME)
    monkeypatch.setattr(models, "linear_losses", chunked_losses)  # as under autocast
    if device_memory is not None:
        parameters = count_parameters(module)[1]
        module.logits_bytes = logits_room(device_memory, description, parameters, 8192, 256, 132, halved=True)
    with Products() as counted:
        module(tokens, tokens).sum().backward()
    assert counted.number == products


@pytest.mark.parametrize(
    ("tokens", "limit", "chunk"), [(1000, 40_000_000, 1000), (1000, 39_999_999, 500), (1000, 13_000_000, 250)]
)
def test_chunks_on_a_card_are_equal_and_few(tokens: int, limit: int, chunk: int) -> None:
    with torch.device("meta"):
        module = TokenLosses(build(shape("0.1m", None, {}), 10_000, 256, 0), 256)
    module.logits_bytes = limit
    assert module.all_at_once(tokens) == (chunk == tokens)
    assert module.chunk_tokens(tokens) == chunk


def test_room_for_logits_is_what_a_card_leaves() -> None:
    """The 120M shape of benchmarks/gpu.py has all its logits at once on an H100; eight times the rows have some."""
    room = partial(logits_room, description=shape("280m", None, {}), parameters=124_000_000, halved=True)
    logits = 1024 * 50_304 * 4
    assert room(80 * 10**9, vocab_size=50_304, sequence_length=1024, rows=32) > 32 * logits
    assert room(80 * 10**9, vocab_size=50_304, sequence_length=1024, rows=96) < 96 * logits
    assert room(80 * 10**9, vocab_size=50_304, sequence_length=1024, rows=256) == models.LOGITS_LIMIT_BYTES


@pytest.mark.slow  # the compiler takes seconds to be imported
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
def test_chunks_under_autocast_are_compiled_once_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the model's graph there is one for a chunk's losses and one for its gradients."""
    monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", 0)
    graphs = []
    for chunk in (12, 4):
        monkeypatch.setattr(models, "CHUNK_TOKENS", chunk)
        results = []
        torch.compiler.reset()
        counters.clear()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
            for compiled in (False, True):
                module, (inputs, labels) = tiny(), windows()
                called = torch.compile(module, dynamic=False) if compiled else module
                with torch.autocast("cpu", torch.bfloat16):
                    loss = called(inputs, labels)
                loss.sum().backward()
                assert module.eager_calls == int(not compiled)
                results.append((loss.detach(), torch.cat([p.grad.flatten() for p in module.parameters()])))
        assert torch.allclose(results[0][0], results[1][0], rtol=BFLOAT16)
        assert (results[0][1] - results[1][1]).norm() / results[0][1].norm() < BFLOAT16
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] <= 4


def scaled_head() -> Any:
    """A model whose logits are half of what its head gives."""
    description = {"architecture": "cohere", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    return build({**description, "num_attention_heads": 2, "logit_scale": 0.5}, 50, 12, 0)


class Capped(torch.nn.Module):
    """Any function between a plain head and the logits of a model."""

    def __init__(self, change: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.lm, self.change = tiny().lm, change
        self.get_output_embeddings, self.get_decoder = self.lm.get_output_embeddings, self.lm.get_decoder

    def forward(self, **inputs: Any) -> Any:
        output = self.lm(**inputs)
        output.logits = self.change(self, output.logits)
        return output


@pytest.mark.parametrize(
    "change",
    [
        lambda _, x: 30 * torch.tanh(x / 30),
        lambda _, x: 1e4 * torch.tanh(x / 1e4),  # invisible at 30
        lambda _, x: x.clamp(max=1e5),
        lambda _, x: torch.where(x.abs() < 1e-2, 0.0, x),
        lambda _, x: x + 1e-3,
        lambda _, x: 1.001 * x,
        lambda _, x: x / x.norm(dim=-1, keepdim=True),
        lambda _, x: x * (1 + torch.arange(x.shape[1])[:, None] / 1000),  # by place
        lambda self, x: functional.dropout(x, 0.5, self.training),  # in training only
    ],
)
def test_what_lies_between_head_and_logits_is_seen(change: Any) -> None:
    assert is_linear(Capped(lambda _, x: x), 8)
    lm = Capped(change)
    before = {name: tensor.clone() for name, tensor in lm.state_dict().items()}
    random = torch.get_rng_state()
    assert not is_linear(lm, 8)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.state_dict().items())
    assert "forward" not in vars(lm.get_decoder())
    assert lm.training


def test_parameters_behind_the_decoder_are_no_linear_head() -> None:
    """Zero now, something else after the first step."""
    lm = Capped(lambda self, x: x + self.more)
    lm.more = torch.nn.Parameter(torch.zeros(50))
    assert not is_linear(lm, 8)


def test_scaled_logits_are_not_mistaken_for_a_linear_head() -> None:
    assert not is_linear(scaled_head(), 8)
    assert is_linear(tiny().lm, 8)


@pytest.mark.parametrize("length", [2, 3])
def test_short_rows_are_enough_to_look_at_the_head(length: int) -> None:
    shape = {"architecture": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
    assert TokenLosses(build(shape, 50, length, 0), length).linear_head


def test_a_head_behind_a_projection_is_not_linear_in_the_hidden_states() -> None:
    shape = {"architecture": "electra", "hidden_size": 16, "embedding_size": 8, "intermediate_size": 32}
    more = {"num_hidden_layers": 1, "num_attention_heads": 2, "is_decoder": True}
    assert not TokenLosses(build({**shape, **more}, 50, 8, 0), 8).linear_head


@pytest.mark.parametrize(
    ("preset", "architecture", "says"),
    [("2m", None, "there is no preset '2m'"), ("280", None, "did you mean '280m'"), (None, "nonsense", "cannot build")],
)
def test_models_that_do_not_exist(preset: str | None, architecture: str | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(shape(preset, architecture, {}), 50, 12, 0)


LLAMA = {"architecture": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"vocab_size": 40}, r"^model\.options\.vocab_size: the tokenizer decides it; leave it out$"),
        ({"dtype": "bfloat16"}, r"options\.dtype: training\.precision decides"),
        ({"torch_dtype": "float16", "use_cache": True}, r"options\.torch_dtype: .*leave it out \(and use_cache\)$"),
        ({"model_type": "llama"}, r"options\.model_type: model\.architecture says it"),
        ({"architectures": ["LlamaForCausalLM"]}, "options.architectures"),
        ({"attn_implementation": "flash_attention_2"}, "options.attn_implementation"),
        ({"pad_token_id": 3}, r"options\.pad_token_id: the tokenizer decides it"),
        ({"image_token_index": 3}, "options.image_token_index: the tokenizer decides it"),
        ({"temperature": 0.7}, "options.temperature: it belongs to the generation of text"),
        ({"auto_map": {}}, "remote code is never run"),
        ({"hiden_size": 16}, r"llama has no such key; did you mean 'hidden_size'\?$"),
        ({"n_embd": 16}, "options.n_embd: llama has no such key"),
        ({"final_logit_softcapping": 30.0}, "options.final_logit_softcapping: llama has no such key"),
        ({"num_hidden_layers": "two"}, r"options\.num_hidden_layers: should be int \(given: 'two'\)$"),
        ({"num_hidden_layers": 1.5}, "should be int"),
        ({"attention_bias": "yes"}, "options.attention_bias: should be bool"),
        ({"max_position_embeddings": 11}, r"options\.max_position_embeddings: is 11, fewer than data.seq.* \(12\)"),
        ({"hidden_size": 10, "num_attention_heads": 3}, r"^model\.options: The hidden size \(10\) is not a multiple"),
        ({"rope_scaling": {"rope_type": "linear", "factr": 2}}, r"rope_scaling\.factr: .*'factor'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "Missing required keys .*factor"),
        ({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}}, "said in two places"),
        ({"rope_scaling": {"factor": 2}, "rope_parameters": {"rope_theta": 1e4}}, "said in two places"),
        ({"hidden_act": "nonsense"}, "cannot build 'llama'"),
        ({"hidden_size": 0}, "cannot build|multiple"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as found:
        build({**LLAMA, **options}, 50, 12, 0)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({"rope_theta": "1e4"}, "rope_parameters", {"rope_theta": 1e4, "rope_type": "default"}),
        ({"rope_theta": 10000}, "rope_parameters", {"rope_theta": 10000, "rope_type": "default"}),
        ({"rope_scaling": None}, "rope_parameters", {"rope_theta": 1e4, "rope_type": "default"}),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps", 1e-6),
        ({"rms_norm_eps": 1}, "rms_norm_eps", 1.0),
        ({"intermediate_size": "1e2"}, "intermediate_size", 100),
        ({"intermediate_size": 64.0}, "intermediate_size", 64),
        ({"max_position_embeddings": 4096}, "max_position_embeddings", 4096),
        ({}, "max_position_embeddings", 12),
        ({"output_router_logits": False}, "output_router_logits", False),
    ],
)
def test_options_that_are_meant_are_taken(options: dict[str, Any], key: str, value: Any) -> None:
    architecture = "mixtral" if "output_router_logits" in options else "llama"
    with torch.device("meta"):
        found = getattr(build({**LLAMA, "architecture": architecture, **options}, 50, 12, 0).config, key)
    assert (found, type(found)) == (value, type(value))


def test_older_names_of_an_architecture_are_known() -> None:
    shape = {"architecture": "gpt_neox", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.device("meta"):
        lm = build({**shape, "intermediate_size": 32, "rotary_pct": 0.5, "rotary_emb_base": 500.0}, 50, 12, 0)
    assert lm.config.rope_parameters == {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}


@pytest.mark.parametrize("key", ["router_aux_loss_coef", "output_router_logits"])
def test_balance_losses_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"options.{key}: the balance loss of experts is not added"):
        build({**LLAMA, "architecture": "mixtral", key: 0.01 if "coef" in key else True}, 50, 12, 0)


@pytest.mark.parametrize(
    ("family", "says"),
    [
        ("gemma3", r"language model alone \(gemma3_text\)"),
        ("vit", "cannot build"),
        ("lama", "did you mean 'llama'"),
        ("roberta", "a tokenizer that has a padding token"),
    ],
)
def test_families_that_cannot_be(family: str, says: str) -> None:
    options = LLAMA if family == "roberta" else {}
    with pytest.raises(ConfigError, match=says) as found:
        TokenLosses(build({**options, "architecture": family}, 50, 12, 0), 12)
    assert "\n" not in str(found.value)


def test_a_model_that_looks_ahead_is_refused() -> None:
    bert = {**LLAMA, "architecture": "bert"}
    with pytest.raises(ConfigError, match=r"bert looks at later tokens.*model\.options\.is_decoder"):
        TokenLosses(build(bert, 50, 12, 0), 12)
    TokenLosses(build({**bert, "is_decoder": True}, 50, 12, 0), 12)


def test_no_token_is_padding_unless_the_tokenizer_has_one() -> None:
    """OLMo's own default is 1, which is a token of ours: its embedding would stay zero."""
    olmo = {**LLAMA, "architecture": "olmo"}
    for pad_id, zeros in ((None, []), (3, [3])):
        lm = build(olmo, 50, 12, 0, pad_id)
        assert lm.config.pad_token_id == pad_id
        assert (lm.get_input_embeddings().weight == 0).all(dim=1).nonzero().flatten().tolist() == zeros


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        ({}, None),
        ({"pad_token": "[PAD]"}, 2),
        ({"pad_token": "</s>"}, None),
        ({"pad_token": "x", "unk_token": "x"}, None),
    ],
)
def test_padding_token_of_a_tokenizer(special: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    """One that is also the end of text or the unknown token occurs in text."""
    backend = Tokenizer(WordLevel({"</s>": 0, "x": 1, "[PAD]": 2}, unk_token="x"))
    TextTokenizer(backend, "here", "</s>", special).save(tmp_path)
    assert padding_id(tmp_path) == expected


@pytest.mark.parametrize("family", ["gemma2", "bloom", "mpt"])
def test_families_without_fused_attention_take_their_own_and_say_so(family: str) -> None:
    with torch.device("meta"):
        lm = build(families.tiny(family), families.VOCAB, families.LENGTH, 0)
        (line,) = models.remarks(lm)
        assert f"{family} cannot use PyTorch's fused attention" in line
        assert models.remarks(tiny().lm) == []
    assert lm.config._attn_implementation == "eager"


def test_experts_without_balance_are_said() -> None:
    with torch.device("meta"):
        lm = build(families.tiny("mixtral"), families.VOCAB, families.LENGTH, 0)
    assert "no balance loss" in models.remarks(lm)[0]


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no model"):
        models.load(tmp_path)


def test_every_preset_names_its_architecture() -> None:
    assert {p["architecture"] for p in PRESETS.values()} == {"llama", "gpt2"}
