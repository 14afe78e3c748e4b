"""No mask is made where attention is causal, compiled or not; and nothing changes for models that need one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from doremi.model import attention
from doremi.model import build as models
from doremi.model.attention import NAME, without_mask
from doremi.model.build import TokenLosses, build
from tolerances import FLOAT32

LENGTH = 24
SMALL: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
SMALL["mistral"] = {**SMALL["llama"], "num_key_value_heads": 1, "head_dim": 8}
SMALL["qwen2"] = {**SMALL["llama"], "num_key_value_heads": 1, "use_sliding_window": True, "max_window_layers": 1}
SMALL["falcon"] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "alibi": True}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_FOUND", {})


def small(architecture: str, **more: Any) -> Any:
    torch.manual_seed(0)
    return build({"architecture": architecture, **SMALL[architecture], **more}, 50, LENGTH, 0)


def rows() -> torch.Tensor:
    return torch.randint(50, (2, LENGTH), generator=torch.Generator().manual_seed(1))


def attention_in_graph(module: TokenLosses) -> tuple[list[tuple[bool, Any]], torch.Tensor]:
    """Of each attention in the compiled graph: whether it has a mask, and is_causal; and the losses."""
    found: list[tuple[bool, Any]] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        for node in graph.graph.nodes:
            if node.target is functional.scaled_dot_product_attention:
                found.append((node.kwargs["attn_mask"] is not None, node.kwargs["is_causal"]))
        return graph.forward

    torch.compiler.reset()
    with torch.no_grad():
        loss_BT = torch.compile(module, dynamic=False, fullgraph=True, backend=backend)(rows(), rows())
    return found, loss_BT


@pytest.mark.slow  # the compiler takes seconds to be imported
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_compiled_attention_has_no_mask_and_losses_stay(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, loss_BT = attention_in_graph(TokenLosses(small(architecture), LENGTH))
    assert found == [(False, True)] * 2
    monkeypatch.setattr(models, "without_mask", lambda *_: False)
    masked = TokenLosses(small(architecture), LENGTH)
    assert torch.equal(masked(rows(), rows()), TokenLosses(small(architecture), LENGTH)(rows(), rows()))
    assert torch.allclose(loss_BT, masked(rows(), rows()), rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize(
    ("architecture", "options", "changes"),
    [
        ("mistral", {"sliding_window": LENGTH + 1}, True),
        ("mistral", {"sliding_window": LENGTH - 1}, False),
        ("mistral", {"sliding_window": None}, True),
        ("qwen2", {"sliding_window": 4}, False),  # one layer of two
        ("falcon", {}, False),  # biases by distance
    ],
)
def test_only_models_without_a_mask_change(architecture: str, options: dict[str, Any], changes: bool) -> None:
    lm = small(architecture, **options).eval()
    with torch.no_grad():
        before = lm(input_ids=rows(), use_cache=False).logits
        assert without_mask(lm, LENGTH) is changes
        assert (lm.config._attn_implementation == NAME) is changes
        assert torch.equal(lm(input_ids=rows(), use_cache=False).logits, before)


def test_a_model_that_ignores_its_attention_at_first_is_not_taken_in() -> None:
    """Outputs that do not depend on attention yet say nothing; what attention was given does."""
    lm = small("mistral", sliding_window=4).eval()
    for layer in lm.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    assert not without_mask(lm, LENGTH)


def test_a_model_that_answers_otherwise_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it may use a mask that PyTorch's attention never sees."""
    lm = small("llama").eval()
    answers = iter([(True, torch.zeros(1)), (True, torch.ones(1))])
    monkeypatch.setattr(attention, "_look", lambda *_: next(answers))
    assert not without_mask(lm, LENGTH)
    assert lm.config._attn_implementation == "sdpa"


def test_what_was_found_out_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_mask(small("llama").eval(), LENGTH)
    monkeypatch.setattr(attention, "_look", lambda *_: pytest.fail("tried again"))
    again = small("llama").eval()
    assert without_mask(again, LENGTH)
    assert again.config._attn_implementation == NAME
    with pytest.raises(pytest.fail.Exception):
        without_mask(small("llama").eval(), LENGTH - 1)


def test_what_is_saved_does_not_know(tmp_path: Path) -> None:
    lm = small("llama")
    lm.save_pretrained(tmp_path / "before")
    assert TokenLosses(lm, LENGTH).lm.config._attn_implementation == NAME
    lm.save_pretrained(tmp_path / "after")
    saved = [(tmp_path / name / "config.json").read_text() for name in ("before", "after")]
    assert saved[0] == saved[1]
    assert NAME not in json.dumps(json.loads(saved[1]))
    assert models.load(tmp_path / "after").config._attn_implementation == "sdpa"
