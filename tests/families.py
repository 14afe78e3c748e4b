"""Every causal language model of the installed transformers in a tiny size, for the tests that go through them all."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

FAMILIES = sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))
VOCAB, LENGTH = 64, 16
SIZES = {  # names of whole numbers -> how large they are in a tiny model
    r"(decoder_|attention_|attn_)?hidden_size|n_embd|d_model|embed_dim|embedding_size": 32,
    r"word_embed_proj_dim|lru_width|dim_model|emb_dim": 32,
    r"(num_hidden|num|decoder|encoder|num_decoder|num_encoder)_layers|n_layers?": 2,
    r"(num_|decoder_|encoder_|num_key_value_|num_kv_|mamba_n_|num_q_|linear_num_)?(attention_)?heads": 2,
    r"n_heads?|kv_n_heads": 2,
    r"(moe_|shared_expert_)?intermediate_size|n_inner|(decoder_|encoder_)?ffn_dim|ffn_hidden_size|d_ff|dim_ff": 64,
    r"(v_|qk_nope_|qk_rope_|linear_key_|linear_value_|linear_)?head_dim|dim_head|d_head|d_kv|kv_channels": 16,
    r"num_experts|num_local_experts|n_routed_experts|moe_num_experts": 4,
    r"num_experts_per_tok|num_selected_experts|moe_topk|top_k_experts": 2,
    r"(q|kv)_lora_rank": 16,
}
DECODER = {"is_decoder": True}
MORE: dict[str, dict[str, Any]] = {
    "axk1": {"n_routed_experts": 8, "n_group": 2, "topk_group": 1},
    "codegen": {"n_head": 4, "rotary_dim": 8},
    "gptj": {"rotary_dim": 8},
    "bert": DECODER,
    "bert-generation": DECODER,
    "electra": DECODER,
    "ernie": DECODER,
    "megatron-bert": DECODER,
    "rembert": {**DECODER, "input_embedding_size": 32, "output_embedding_size": 32},
    "roformer": DECODER,
    "big_bird": {**DECODER, "attention_type": "original_full"},
    "roc_bert": {**DECODER, "pronunciation_vocab_size": 8, "shape_vocab_size": 8},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "ernie4_5_moe": {"moe_k": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "ministral": {"head_dim": 16},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 2},
    "nemotron": {"num_key_value_heads": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"n_routed_experts": 4, "expert_ffn_hidden_size": 32, "zero_expert_num": 2, "moe_topk": 2},
    "gemma4_text": {"vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8},
    "gemma3n_text": {
        "vocab_size_per_layer_input": 64,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 8,
        "num_kv_shared_layers": 0,
        "intermediate_size": [64, 64],
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "zamba2": {"layer_types": ["linear_attention", "hybrid"], "n_mamba_heads": 4, "mamba_d_state": 8},
    "reformer": {**DECODER, "axial_pos_embds": False, "attn_layers": ["local", "local"], "local_attn_chunk_length": 8},
}
"""What a family needs beside that, as a user would write it under `model.options`."""


def tiny(family: str) -> dict[str, Any]:
    """A model's description with as few numbers as the family's own defaults allow."""
    options: dict[str, Any] = {}
    for field in dataclasses.fields(CONFIG_MAPPING[family]):
        if isinstance(field.default, int) and not isinstance(field.default, bool):
            size = next((size for name, size in SIZES.items() if re.fullmatch(name, field.name)), field.default)
            if size < field.default:
                options[field.name] = size
    return {"architecture": family, **options, **MORE.get(family, {})}
