"""Causal architectures made tiny: two layers of width 64, from transformers' own configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
GPT: dict[str, Any] = {"n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4}
STILL = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FOUR = {"num_experts": 4, "num_experts_per_tok": 2}
SMALL = {**FOUR, "moe_intermediate_size": 32}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
          "n_group": 1, "topk_group": 1}  # fmt: skip
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16,
          "num_key_value_heads": 4, "head_dim": 8}  # fmt: skip
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
          "linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"]}  # fmt: skip
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
STATE = {"hidden_size": 64, "num_hidden_layers": 2}
SHARED = {"shared_expert_intermediate_size": 32}
NO_HEAD_DIM = {name: value for name, value in WIDTH.items() if name != "head_dim"}

PLAIN = ("llama", "mistral", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox", "olmo2", "starcoder2", "cohere",
         "cohere2", "granite", "stablelm", "smollm3", "glm4", "exaone4", "nemotron", "phi", "persimmon")  # fmt: skip
DENSE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(PLAIN, WIDTH),
    "qwen2": {**WIDTH, "tie_word_embeddings": True},
    "falcon": NO_HEAD_DIM,
    "gpt2": {**GPT, **STILL},
    "gptj": {**GPT, "rotary_dim": 8},
    "gpt_bigcode": {**GPT, **STILL},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "opt": {"hidden_size": 64, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "max_position_embeddings": 256, "word_embed_proj_dim": 64, "dropout": 0.0},
}  # fmt: skip
EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": {**WIDTH, **LOCAL},
    "qwen2_moe": {**WIDTH, **SMALL, **SHARED},
    "qwen3_moe": {**WIDTH, **SMALL},
    "olmoe": {**WIDTH, **FOUR},
    "flex_olmo": {**WIDTH, **FOUR},
    "gpt_oss": {**WIDTH, **LOCAL, "layer_types": ["full_attention"] * 2},
    "deepseek_v2": {**WIDTH, **ROUTED, **LATENT, "topk_method": "greedy"},
    "deepseek_v3": {**WIDTH, **ROUTED, **LATENT},
    "glm4_moe": {**WIDTH, **ROUTED},
    "dots1": {**WIDTH, **ROUTED, "n_shared_experts": 1, "layer_types": ["full_attention"] * 2},
    "solar_open": {**WIDTH, **ROUTED},
    "llama4_text": {**WIDTH, "num_local_experts": 4, "intermediate_size_mlp": 64, "moe_layers": [1]},
    "lfm2_moe": {**WIDTH, **SMALL, "num_dense_layers": 1, "layer_types": ["conv", "full_attention"]},
    "ernie4_5_moe": {**WIDTH, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32},
    "granitemoe": {**WIDTH, **LOCAL},
    "granitemoeshared": {**WIDTH, **LOCAL, "shared_intermediate_size": 32},
    "phimoe": {**WIDTH, **LOCAL},
    "minimax": {**WIDTH, **LOCAL},
    "hunyuan_v1_moe": {**WIDTH, "num_experts": 4, "moe_topk": 2},
    "jetmoe": {**WIDTH, **LOCAL, "kv_channels": 16},
    "aria_text": {**WIDTH, "moe_num_experts": 4, "moe_topk": 2, "moe_num_shared_experts": 1},
    "longcat_flash": {**WIDTH, **LATENT, "num_layers": 2, "ffn_hidden_size": 64, "expert_ffn_hidden_size": 32,
                      "n_routed_experts": 4, "moe_topk": 2, "zero_expert_num": 2},
}  # fmt: skip
HYBRID: dict[str, dict[str, Any]] = {
    "qwen3_next": {**WIDTH, **SMALL, **SHARED, **LINEAR},
    "qwen3_5_text": {**WIDTH, **LINEAR},
    "qwen3_5_moe_text": {**WIDTH, **SMALL, **SHARED, **LINEAR},
    "jamba": {**WIDTH, **FOUR, "use_mamba_kernels": False, "attn_layer_period": 2, "attn_layer_offset": 1,
              "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 4},
    "bamba": {**WIDTH, **MAMBA, "attn_layer_indices": [1]},
    "falcon_h1": {**WIDTH, **MAMBA, "mamba_d_ssm": 64, "mamba_n_heads": 4},
    "granitemoehybrid": {**WIDTH, **LOCAL, **MAMBA, "shared_intermediate_size": 32,
                         "layer_types": ["mamba", "attention"]},
    "lfm2": {**WIDTH, "layer_types": ["conv", "full_attention"]},
    "mamba": {**STATE, "state_size": 4},
    "mamba2": {**STATE, "state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 1},
    "falcon_mamba": {**STATE, "state_size": 4},
    "rwkv": {**STATE, "context_length": 256, "attention_hidden_size": 64},
}  # fmt: skip
ALL = {**DENSE, **EXPERTS, **HYBRID}


def make(kind: str, tokenizer: Any) -> Any:
    """A random model of the architecture, of the same numbers each time."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CONFIG_MAPPING[kind](**ALL[kind], **ends, vocab_size=len(tokenizer))
        return AutoModelForCausalLM.from_config(config)


def write(kind: str, folder: Path, tokenizer: Any) -> Path:
    """``make`` into a folder, with the tokenizer."""
    make(kind, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
