"""The runs of the live tier: what each trains, with settings that differ from every default the kit can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Setting = Mapping[str, Any]

STOP_AFTER = 2
NEW_TOKENS = 6
LONGEST = 72

COMMON: Setting = {"model.precision": "fp32", "optim.max_grad_norm": 100.0, "run.save_strategy": "no"}
RUNS: Mapping[str, tuple[str, Setting]] = {
    # Six rows in micro-batches of two, two a step: the second step is the short end of the first epoch.
    "sft": (
        "sft",
        {
            **COMMON,
            "run.save_strategy": "steps",
            "run.save_steps": STOP_AFTER,
            "optim.learning_rate": 3e-3,
            "optim.lr_scheduler": "cosine",
            "optim.warmup_steps": 1,
            "optim.weight_decay": 0.02,
            "optim.adam_beta1": 0.8,
            "optim.adam_beta2": 0.95,
            "optim.adam_epsilon": 1e-6,
            "optim.gradient_accumulation_steps": 2,
            "optim.eval_batch_size": 4,
            "run.data_seed": 5,
            "peft.r": 4,
            "peft.alpha": 12,
            "peft.target_modules": ["q_proj", "v_proj"],
            "data.max_seq_length": LONGEST,
        },
    ),
    "dpo": ("dpo", {**COMMON, "optim.learning_rate": 1e-3, "parameters.beta": 0.2}),
    "online": ("online", {**COMMON, "optim.learning_rate": 1e-3, "peft.r": 4}),
    "full": (
        "sft",
        {
            "model.precision": "fp32",
            "peft.enabled": False,
            "optim.learning_rate": 1e-3,
            "optim.max_steps": 2,
            "optim.max_grad_norm": 0.05,
            "data.max_seq_length": LONGEST,
            "data.truncation_mode": "keep_end",
            "data.completion_only_loss": False,
            "run.save_strategy": "steps",
            "run.save_steps": 1,
            "run.save_total_limit": 1,
        },
    ),
}
# Runs by algorithm; COMPARED are those whose losses the kit knows by hand.
EVERY = ("sft", "dpo", "online")
COMPARED = ("sft", "dpo")
