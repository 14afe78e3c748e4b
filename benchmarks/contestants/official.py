"""The official repository's trainer and model class, from `--checkout`, in one CPU process.

Standing in: for flash-attention's model the one in llama.py with PyTorch's cross-entropy, for wandb a module that
swallows what it is told. Its own learning-rate schedules do not start with today's torch: the constant one of
transformers is used. All else of its step is its own.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import torch
from llama import Llama
from pace import DOMAINS, LENGTH, SHAPE, VOCAB, Pace, arguments, callback, tokens, trainer_options


class GPTLMHeadModel(Llama):
    """What the official model class inherits from."""

    project_out = None

    def __init__(self, config: Any, process_group: Any = None, device: Any = None, dtype: Any = None) -> None:
        super().__init__(SHAPE)
        self.config = config


def stand_in(name: str, **attributes: Any) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(attributes)
    sys.modules[name] = module


def nothing(*_: Any, **__: Any) -> None:
    return None


def stand_ins() -> None:
    stand_in("wandb", log=nothing)
    for package in ("flash_attn", *(f"flash_attn.{part}" for part in ("models", "utils", "losses", "ops"))):
        stand_in(package)
    loaders = ("shard_state_dict_tp", "remap_state_dict_hf_gpt2")
    stand_in("flash_attn.models.gpt", GPTLMHeadModel=GPTLMHeadModel, **dict.fromkeys(loaders, nothing))
    stand_in("flash_attn.models.opt", remap_state_dict_hf_opt=nothing)
    stand_in("flash_attn.models.gptj", remap_state_dict_hf_gptj=nothing)
    stand_in("flash_attn.models.gpt_neox", remap_state_dict_hf_gpt_neox=nothing)
    stand_in("flash_attn.utils.pretrained", state_dict_from_pretrained=nothing)
    stand_in("flash_attn.utils.distributed", all_gather_raw=nothing)
    # without these two it falls back to a name that is None, and its forward pass stops there
    stand_in("flash_attn.losses.cross_entropy", CrossEntropyLoss=torch.nn.CrossEntropyLoss)
    stand_in("flash_attn.ops.fused_dense", ColumnParallelLinear=type("ColumnParallelLinear", (), {}))


def proxy(config: Any) -> torch.nn.Module:
    """A proxy that carries its reference and its weights, as the official script prepares it."""
    import doremi.models as official  # type: ignore[import-not-found]

    model, reference = official.GPTFlashAttnLMHeadModel(config), official.GPTFlashAttnLMHeadModel(config)
    model.reference_model = reference.requires_grad_(False)
    uniform = torch.full((DOMAINS,), 1 / DOMAINS)
    model.register_buffer("train_domain_weights", uniform)
    model.register_buffer("avg_domain_weights", uniform.clone())
    model.register_buffer("perdomain_scores", torch.full((DOMAINS,), VOCAB).log())
    model.register_buffer("update_counter", torch.tensor(1))
    return model


def main() -> None:
    chosen = arguments(checkout={"type": Path, "required": True})
    pace = Pace("transformers", "accelerate", "datasets")
    stand_ins()
    sys.path.insert(0, str(chosen.checkout))
    from doremi.dataloader import get_data_collator  # type: ignore[import-not-found]
    from doremi.trainer import DoReMiTrainer  # type: ignore[import-not-found]
    from doremi.training_args import FullTrainingArguments  # type: ignore[import-not-found]
    from transformers import PretrainedConfig

    rows = [{"input_ids": row, "domain_id": i % DOMAINS} for i, row in enumerate(tokens().tolist())]
    tokenizer = types.SimpleNamespace(pad_token_id=None)
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
        weights = {f"domain {i:02d}": 1 / DOMAINS for i in range(DOMAINS)}
        config_file = Path(folder) / "domains.json"
        config_file.write_text(json.dumps({"train_domain_weights": weights, "eval_domain_weights": weights}))
        settings = FullTrainingArguments(
            **trainer_options(folder, chosen.compile), no_cuda=True, domain_config_path=str(config_file),
            reweight_domains=True, reweight_eps=1e-3,
        )  # fmt: skip
        collator = get_data_collator(tokenizer, max_length=LENGTH)
        trainer = DoReMiTrainer(
            proxy(PretrainedConfig()), settings, train_dataset=rows, data_collator=collator, callbacks=[callback(pace)]
        )
        trainer.train()


if __name__ == "__main__":
    main()
