"""DataFlex's MixTrainer with its DoReMi mixer, on LlamaFactory's trainer, every `--every` steps an update.

An update scores a batch with the proxy and the reference and draws the next steps' sequences. Nothing but the audio
library that LlamaFactory imports is stood in for.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from pace import DOMAINS, SHAPE, Pace, arguments, callback, tokens, trainer_options


def stand_in_for_audio() -> None:
    module = types.ModuleType("torchaudio")
    module.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    sys.modules["torchaudio"] = module


def per_source() -> dict[str, Any]:
    """A data set of each domain."""
    from datasets import Dataset

    rows = tokens()
    ones = [[1] * rows.shape[1]] * len(rows[::DOMAINS])
    return {
        f"domain {i:02d}": Dataset.from_dict(
            {"input_ids": rows[i::DOMAINS], "attention_mask": ones, "labels": rows[i::DOMAINS]}
        )
        for i in range(DOMAINS)
    }


def main() -> None:
    chosen = arguments(every={"type": int, "default": 1})
    pace = Pace("dataflex", "llamafactory", "transformers", "accelerate")
    stand_in_for_audio()
    from dataflex.cli import patch_finetune_params  # type: ignore[import-not-found]

    patch_finetune_params()
    from dataflex.train.dataset.mixed_proportion_manager import MixedProportionManager  # type: ignore
    from dataflex.train.hparams.dynamic_params import DynamicFinetuningArguments  # type: ignore
    from dataflex.train.trainer.mix_trainer import MixTrainer  # type: ignore
    from llamafactory.hparams import TrainingArguments  # type: ignore
    from transformers import AutoModelForCausalLM, LlamaConfig, default_data_collator

    with tempfile.TemporaryDirectory() as folder:
        config = LlamaConfig(**SHAPE)
        reference = Path(folder) / "reference"
        AutoModelForCausalLM.from_config(config).save_pretrained(reference)
        components = Path(folder) / "components.yaml"
        parameters = {"reference_model_path": str(reference), "reweight_eta": 1.0, "reweight_eps": 1e-3}
        components.write_text(json.dumps({"mixers": {"doremi": {"name": "doremi", "params": parameters}}}))
        method = DynamicFinetuningArguments(
            stage="pt", finetuning_type="full", train_type="dynamic_mix", component_name="doremi",
            components_cfg_file=str(components), warmup_step=1, update_step=chosen.every, update_times=10**5,
        )  # fmt: skip
        trainer = MixTrainer(
            finetuning_args=method,
            model=AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"),
            args=TrainingArguments(**trainer_options(folder, chosen.compile), use_cpu=True),
            tokenizer=None,
            data_collator=default_data_collator,
            mixture_manager=MixedProportionManager(per_source(), proportions=[1 / DOMAINS] * DOMAINS),
            callbacks=[callback(pace)],
        )
        trainer.train()


if __name__ == "__main__":
    main()
