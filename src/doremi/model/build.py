"""Build or load a causal language model, and its loss token by token.

Models are Hugging Face's, so that everyone can load what is saved.

Shapes: B sequences, T tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from doremi.errors import ConfigError, RunError
from doremi.files import flush_to_disk, tensor_files
from doremi.model.architecture import configuration, reason
from doremi.model.attention import without_mask
from doremi.model.head import is_linear, looks_ahead, mode
from doremi.model.losses import linear_losses, losses_of

# float32 logits above this size are not kept: the loss is computed in chunks, from the hidden states where the head is
# a plain linear layer, else by running the model on a few rows at a time.
# Measured on a CPU (benchmarks/losses.py); on a card its memory decides (room.py).
LOGITS_LIMIT_BYTES = 512 * 2**20
CHUNK_TOKENS = 1024
TRIAL_PARAMETERS = 50_000_000  # up to here a model of the user's is built and tried before anything else is done
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def build(
    description: dict[str, Any],
    vocab_size: int,
    sequence_length: int,
    end_of_text_id: int,
    pad_id: int | None = None,
) -> Any:
    """A freshly initialised causal LM (torch's global generator); on the meta device inside `torch.device("meta")`.

    `pad_id` is the tokenizer's own padding token, whose embedding stays zero. `ConfigError` if it cannot be built.
    """
    from transformers import AutoModelForCausalLM

    _quiet()
    config = configuration(description, vocab_size, sequence_length, end_of_text_id, pad_id)
    try:
        # With no attention named the library takes PyTorch's own, and what the family has where it cannot use that.
        lm = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # each architecture checks its own keys, with exceptions of its own
        raise ConfigError(
            f"model: transformers cannot build {description['architecture']!r}: {reason(error)}"
        ) from None
    if not isinstance(lm.get_output_embeddings(), nn.Module):
        raise ConfigError(f"model.architecture: {description['architecture']} has no head that gives logits")
    return lm


def try_out(description: dict[str, Any], vocab_size: int, sequence_length: int) -> Any:
    """The model without its numbers; `ConfigError` if it cannot be built or, where it is small, does not predict."""
    with torch.device("meta"):
        lm = build(description, vocab_size, sequence_length, 0)
    if count_parameters(lm)[1] <= TRIAL_PARAMETERS:
        with torch.random.fork_rng(devices=[]):
            check_prediction(build(description, vocab_size, sequence_length, 0), sequence_length)
    return lm


def remarks(lm: Any) -> list[str]:
    """What a user should know about a model before training it, a line each."""
    name, lines = lm.config.model_type, []
    if not lm._supports_sdpa:
        lines.append(
            f"model: {name} cannot use PyTorch's fused attention, so its own code is used; "
            "it is slower and takes more memory, the more so the longer the sequences"
        )
    if any(getattr(lm.config, key, None) for key in EXPERTS):
        lines.append(f"model: {name} routes tokens to experts; no balance loss is added that would spread them evenly")
    return lines


def load(folder: Path) -> Any:
    """A saved causal LM; `RunError` when the folder holds none. No remote code is run, nothing is unpickled."""
    from transformers import AutoModelForCausalLM

    _quiet()
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: holds no model that can be loaded ({' '.join(str(error).split())[:200]})") from None


def _quiet() -> None:
    """No progress bars and no warnings of transformers: what matters of them is said as errors and remarks."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def like(folder: Path) -> Any:
    """A causal LM of the configuration of a saved one, with first values of its own."""
    from transformers import AutoConfig, AutoModelForCausalLM

    _quiet()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)


def save(model: Any, tokenizer_folder: Path, folder: Path, tensors: dict[str, Tensor] | None = None) -> None:
    """Save for `AutoModelForCausalLM` and `AutoTokenizer`, atomically: a folder with this name is complete.

    `tensors` are the model's, whole, where it holds shards of them only.
    """
    _quiet()
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with tensor_files(temporary):
        model.save_pretrained(temporary, state_dict=tensors)
    publish(temporary, tokenizer_folder, folder)


def describe(model: Any, folder: Path) -> None:
    """Write what a saved model has beside its numbers, as `save_pretrained` does."""
    model.config.dtype, model.config.architectures = "float32", [type(model).__name__]
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)


def publish(temporary: Path, tokenizer_folder: Path, folder: Path) -> None:
    """Add the tokenizer to a saved model and give it its final name."""
    for file in tokenizer_folder.iterdir():
        shutil.copyfile(file, temporary / file.name)
    for file in temporary.iterdir():
        flush_to_disk(file)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(non-embedding, total) parameters; a tied head counts once, positions count as embeddings."""
    embedding = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    parameters = {id(p): p.numel() for p in model.parameters()}
    total = sum(parameters.values())
    return total - sum(n for i, n in parameters.items() if i in embedding), total


class TokenLosses(nn.Module):
    """A causal LM whose forward returns each token's loss; what DDP, FSDP2 and torch.compile wrap."""

    def __init__(self, lm: Any, sequence_length: int) -> None:
        """`sequence_length` is that of the longest row it will see. `ConfigError` if the model does not predict."""
        super().__init__()
        self.lm, self.sequence_length, self.linear_head = lm, sequence_length, False
        self.vocab_size = lm.get_output_embeddings().weight.shape[0]
        self.logits_bytes: int | None = None
        """Of float32 logits at once, where a card's memory decides on them (room.py)."""
        self.in_parts = False
        """Whether blocks and losses are compiled by themselves, and what is between them runs as it is."""
        self.eager_calls = 0
        """Forward passes that no compiler has seen, of the whole or of a block."""
        if not next(lm.parameters()).is_meta:  # without numbers there is nothing to try
            check_prediction(lm, sequence_length)
            self.linear_head = is_linear(lm, sequence_length)
            with eval_mode(lm):
                without_mask(lm, sequence_length)

    @property
    def limit(self) -> int:
        """Bytes of float32 logits at once."""
        return LOGITS_LIMIT_BYTES if self.logits_bytes is None else self.logits_bytes

    def all_at_once(self, tokens: int) -> bool:
        """Whether all logits of so many tokens are within the limit."""
        return tokens * self.vocab_size * 4 <= self.limit

    def chunk_tokens(self, tokens: int) -> int:
        """Tokens of a chunk, where not all logits are within the limit.

        On a card chunks are equal and as few as can be; on a CPU they are of the size that measured best there.
        """
        if self.logits_bytes is None:
            return CHUNK_TOKENS
        chunks = -(-tokens * self.vocab_size * 4 // self.logits_bytes)
        return -(-tokens // chunks)

    def forward(self, input_BT: Tensor, label_BT: Tensor) -> Tensor:
        """Negative log-likelihood of each label in nats, float32 `[B, T]`; inputs and labels are int64 `[B, T]`.

        `ValueError` for rows longer than was said.
        """
        if not self.in_parts and not torch.compiler.is_compiling():
            self.eager_calls += 1
        if input_BT.shape[1] > self.sequence_length:
            raise ValueError(f"rows of {input_BT.shape[1]} tokens in a model made for {self.sequence_length}")
        if self.all_at_once(input_BT.numel()):
            return own_losses(self.lm, input_BT, label_BT, compiled=self.in_parts)
        if not self.linear_head:
            return row_losses(self.lm, input_BT, label_BT, self.rows_at_once(input_BT.shape[1]))
        hidden_BTD = self.lm.get_decoder()(input_ids=input_BT, use_cache=False)[0]
        head = self.lm.get_output_embeddings()
        chunk = self.chunk_tokens(input_BT.numel())
        losses = partial(linear_losses, compiled=True) if self.in_parts else linear_losses
        return losses(hidden_BTD.flatten(0, 1), head, label_BT.flatten(), chunk).view_as(label_BT)

    def rows_at_once(self, tokens: int) -> int:
        """Rows of so many tokens whose logits are within the limit, at least one."""
        return max(1, self.limit // (tokens * self.vocab_size * 4))


def check_prediction(lm: Any, sequence_length: int) -> None:
    """`ConfigError` for a model that cannot run on tokens alone, or that sees the tokens it is to predict."""
    name = lm.config.model_type
    try:
        ahead = looks_ahead(lm, sequence_length)
    except Exception as error:  # an architecture's own
        padding = "; it may need a tokenizer that has a padding token" if "NoneType" in str(error) else ""
        raise ConfigError(
            f"model: {name} cannot run on text alone with these options ({reason(error)}){padding}"
        ) from None
    if ahead:
        decoder = "; set model.options.is_decoder to true" if getattr(lm.config, "is_decoder", True) is False else ""
        raise ConfigError(f"model: {name} looks at later tokens, which it should predict{decoder}")


def own_losses(lm: Any, input_BT: Tensor, label_BT: Tensor, *, compiled: bool = False) -> Tensor:
    """Cross-entropy of the model's own logits token by token, float32 `[B, T]`; `compiled`: that step by itself."""
    logits_BTV = lm(input_ids=input_BT, use_cache=False).logits
    return losses_of(logits_BTV.flatten(0, 1), label_BT.flatten(), compiled=compiled).view_as(label_BT)


def row_losses(lm: Any, input_BT: Tensor, label_BT: Tensor, rows: int) -> Tensor:
    """The same, `rows` at a time; the whole model is run again on them in the backward pass.

    That takes a third more time, and is right for whatever lies between a model's hidden states and its logits.
    """
    from torch.utils.checkpoint import checkpoint

    chunks = zip(input_BT.split(rows), label_BT.split(rows), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([own_losses(lm, inputs, labels) for inputs, labels in chunks])
    return torch.cat([checkpoint(own_losses, lm, i, labels, use_reentrant=False) for i, labels in chunks])  # type: ignore[misc]


def eval_mode(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Dropout off inside, as it was afterwards."""
    return mode(module, training=False)
