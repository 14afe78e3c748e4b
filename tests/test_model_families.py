"""Every family of transformers: our token losses are those of the model's own logits, whatever the batch.

Heads are judged as a model is initialised, where caps are invisible; losses are compared after the weights were made so
large that caps, scales and norms bite.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from doremi.errors import ConfigError
from doremi.model import build as models
from doremi.model.build import TokenLosses, build, count_parameters
from doremi.model.head import looks_ahead
from families import FAMILIES, LENGTH, VOCAB, tiny

TABLE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
HEAD = "| family | trains | attention | remarks |\n| --- | --- | --- | --- |\n"
TOO_LARGE = 5_000_000  # parameters
AGREE = 1e-4  # relative: float32 through a whole model, rows alone or together


def grow(lm: Any) -> None:
    """Weights so large that nothing behind the hidden states is invisible, and none that is zero hides another."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
        head = lm.get_output_embeddings().weight
        head *= 40 / head.norm(dim=1).mean()


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    block_BT = torch.randint(VOCAB, (rows, LENGTH + 1), generator=torch.Generator().manual_seed(rows))
    return block_BT[:, :-1], block_BT[:, 1:]


def gradient(loss_BT: torch.Tensor, lm: Any) -> torch.Tensor:
    """Of a sum in which no two tokens count the same; parameters without one count as zero."""
    lm.zero_grad()
    (loss_BT * torch.linspace(0.5, 1.5, loss_BT.numel()).view_as(loss_BT)).sum().backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in lm.parameters()])


def own(lm: Any, input_BT: torch.Tensor, label_BT: torch.Tensor) -> torch.Tensor:
    logits_BTV = lm(input_ids=input_BT, use_cache=False).logits
    return -functional.log_softmax(logits_BTV.float(), dim=-1).gather(-1, label_BT[..., None])[..., 0]


def check_losses(description: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> TokenLosses:
    """Small and chunked losses and gradients, of one row and of three, against the model's own."""
    torch.manual_seed(0)
    lm = build(description, VOCAB, LENGTH, 0)
    plain = copy.deepcopy(lm).eval()
    module = TokenLosses(lm, LENGTH).eval()
    for each in (plain, module.lm):
        grow(each)
    assert not looks_ahead(plain, LENGTH)
    monkeypatch.setattr(models, "CHUNK_TOKENS", 7)
    for rows in (1, 3):
        input_BT, label_BT = batch(rows)
        expected_BT = own(plain, input_BT, label_BT)
        expected = gradient(expected_BT, plain)
        for limit in (10**9, 0):
            monkeypatch.setattr(models, "LOGITS_LIMIT_BYTES", limit)
            loss_BT = module(input_BT, label_BT)
            assert (loss_BT - expected_BT).abs().max() <= AGREE * expected_BT.abs().max()
            assert (gradient(loss_BT, module.lm) - expected).norm() <= 10 * AGREE * expected.norm()
            with torch.no_grad():
                assert (module(input_BT, label_BT) - expected_BT).abs().max() <= AGREE * expected_BT.abs().max()
    return module


@pytest.mark.parametrize(
    ("family", "more", "linear"),
    [
        ("llama", {}, True),
        ("nanochat", {}, False),  # caps at 15 by default
        ("gemma3_text", {}, True),
        ("gemma3_text", {"final_logit_softcapping": 30.0}, False),
        ("gemma2", {}, False),  # and attention of its own
        ("cohere", {}, False),  # scales
        ("granite", {}, True),
        ("granite", {"logits_scaling": 8.0}, False),
        ("bert", {}, False),  # a layer and a norm before the head
        ("mixtral", {}, True),
        ("mamba", {}, True),
    ],
)
def test_losses_are_the_models_own(
    family: str, more: dict[str, Any], linear: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_losses({**tiny(family), **more}, monkeypatch).linear_head is linear


def train_and_load(description: dict[str, Any], folder: Path) -> None:
    """Ten steps lower the loss of a batch, and the saved model has the same losses."""
    torch.manual_seed(0)
    module = TokenLosses(build(description, VOCAB, LENGTH, 0), LENGTH).train()
    input_BT, label_BT = batch(4)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        loss = module(input_BT, label_BT).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01
    (folder / "tokenizer").mkdir()
    models.save(module.lm, folder / "tokenizer", folder / "model")
    loaded = TokenLosses(models.load(folder / "model"), LENGTH).eval()
    with torch.no_grad():
        assert torch.allclose(loaded(input_BT, label_BT), module.eval()(input_BT, label_BT), rtol=AGREE, atol=AGREE)


def row(family: str, folder: Path) -> str:
    """The family's line of the table in docs/models.md."""
    description = tiny(family)
    try:
        with torch.device("meta"):
            lm = build(description, VOCAB, LENGTH, 0)
        assert count_parameters(lm)[1] < TOO_LARGE, "not tried, for it cannot be made small"
        with pytest.MonkeyPatch.context() as patch:
            module = check_losses(description, patch)
        train_and_load(description, folder)
    except (ConfigError, AssertionError) as error:
        return f"| {family} | no | | {why_not(str(error))} |"
    notes = ["large batches in rows"] if not module.linear_head else []
    notes += ["some weights are never used, so one process only"] * any(p.grad is None for p in module.lm.parameters())
    notes += ["is_decoder: true"] * bool(description.get("is_decoder"))
    attention = "fused" if module.lm._supports_sdpa else "its own"
    return f"| {family} | yes | {attention} | {'; '.join(notes)} |"


def why_not(message: str) -> str:
    kinds = {
        "looks at later tokens": "looks at later tokens",
        "has parts beside": "more than a language model",
        "needs a padding token": "needs a padding token",
        "NoneType": "needs more than tokens, such as a padding token",
        "training mode": "not tried, for its gradients cannot be had without dropout",
        "not tried": message.splitlines()[0],
    }
    return next((why for sign, why in kinds.items() if sign in message), "its own code refuses or fails")


@pytest.mark.slow  # two minutes
def test_the_table_of_families_is_true(tmp_path: Path) -> None:
    """`python tests/test_model_families.py` writes it anew."""
    text = TABLE.read_text()
    if f"transformers {transformers.__version__} " not in text:
        pytest.skip("the table is of another version of transformers")
    assert table(tmp_path) == text.partition(HEAD)[2].splitlines()


def table(folder: Path) -> list[str]:
    rows = []
    for family in FAMILIES:
        (folder / family).mkdir()
        rows.append(row(family, folder / family))
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        before = TABLE.read_text().partition(HEAD)[0]
        TABLE.write_text(before + HEAD + "".join(f"{line}\n" for line in table(Path(name))))
