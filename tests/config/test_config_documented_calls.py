"""Calls as tutorials write them: they resolve, and say what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from aligntune_core.config import paths, resolve_config

QUANTISED = "org/Llama-1B-Instruct-bnb-4bit"

CALLS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sft on alpaca": (
        "sft",
        {"dataset_name": "tatsu-lab/alpaca", "backend": "unsloth", "num_epochs": 3, "batch_size": 4,
         "learning_rate": 5e-5},
        {"backend": "unsloth", "optim.num_epochs": 3.0, "peft.enabled": True},
    ),
    "sft with lora": (
        "sft",
        {"dataset_name": "tatsu-lab/alpaca", "use_peft": True, "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05},
        {"peft.r": 8, "peft.alpha": 16.0, "peft.dropout": 0.05},
    ),
    "dpo on hh-rlhf": (
        "rl",
        {"dataset_name": "Anthropic/hh-rlhf", "algorithm": "dpo", "num_epochs": 1, "batch_size": 1,
         "learning_rate": 1e-6},
        {"algorithm": "dpo", "optim.learning_rate": 1e-6},
    ),
    "ppo with a reward model": (
        "rl",
        {"dataset_name": "Anthropic/hh-rlhf", "algorithm": "ppo", "reward_model_name": "your-reward-model",
         "num_epochs": 1, "batch_size": 1, "learning_rate": 1e-6},
        {"rewards.model": "your-reward-model"},
    ),
    "a small run of everything": (
        "sft",
        {"dataset_name": "openai/gsm8k", "config_name": "main", "split": "train[:50]", "max_steps": 2, "seed": 42,
         "column_mapping": {"question": "prompt", "answer": "response"}, "report_to": "none", "eval_strategy": "no",
         "save_strategy": "no", "max_samples": 16, "max_seq_length": 256, "precision": "fp32",
         "quantization": {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16", "bnb_4bit_quant_type": "nf4"},
         "lora_target_modules": None, "use_gradient_checkpointing": True, "lora_bias": "none", "use_rslora": False,
         "loftq_init": False, "pissa_init": False, "torch_compile": False, "use_liger_kernel": False,
         "data_seed": 42, "dataloader_num_workers": 0, "optimizer": "adamw_torch", "lr_scheduler": "linear"},
        {"data.split": "train[:50]", "data.config_name": "main", "run.save_strategy": "no", "peft.init": "default"},
    ),
    "grpo with rewards": (
        "rl",
        {"dataset_name": "openai/gsm8k", "algorithm": "grpo", "num_generations": 4, "max_prompt_length": 384,
         "max_completion_length": 448, "max_seq_length": 832, "temperature": 0.8, "top_p": 0.95, "beta": 0.01,
         "loss_type": "grpo", "scale_rewards": "group", "bf16": True, "task_type": "grpo",
         "rewards": [{"type": "math_correctness", "weight": 1.0, "params": {}}]},
        {"parameters.num_generations": 4, "model.precision": "bf16"},
    ),
    "ppo with its own names": (
        "rl",
        {"dataset_name": "Anthropic/hh-rlhf", "algorithm": "ppo", "kl_coef": 0.1, "cliprange": 0.2, "vf_coef": 0.1,
         "gamma": 1.0, "lam": 0.95, "response_length": 64, "max_prompt_length": 128, "max_seq_length": 256,
         "reward_functions": ["length", "safety"], "reward_function_weights": [0.4, 0.6]},
        {"parameters.kl_coef": 0.1, "parameters.max_completion_length": 64, "rewards.weights": [0.4, 0.6]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_documented_call_resolves(name: str) -> None:
    kind, keywords, expected = CALLS[name]
    found = paths(resolve_config(kind, model_name=QUANTISED, **keywords))
    assert {path: found[path] for path in expected} == expected
