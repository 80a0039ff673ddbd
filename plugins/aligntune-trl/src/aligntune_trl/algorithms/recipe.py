"""The algorithms this plugin trains: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Where an algorithm's parts are.

    Attributes:
        arguments: TRL's argument class, or "module:class" of ours. Its fields hold the algorithm's parameters by name.
        module: our module whose ``build(loaded, config, datasets, run)`` returns the engine.
        fixed: its fields that no keyword reaches, and that must not depend on the version of the library.
    """

    arguments: str
    module: str
    fixed: Mapping[str, Any] = field(default_factory=dict)


# TRL would add the load-balancing loss of a mixture of experts by itself; see router.py.
NO_ROUTER_LOSS = {"router_aux_loss_coef": 0.0}

GROUP = Recipe(
    "aligntune_trl.algorithms.grpo.config:GroupConfig",
    "aligntune_trl.algorithms.grpo.build",
    {
        "remove_unused_columns": False,  # rewards read the other columns
        "sapo_temperature_neg": 1.05,
        "sapo_temperature_pos": 1.0,
        "vespo_k_pos": 2.0,
        "vespo_lambda_pos": 3.0,
        "vespo_k_neg": 3.0,
        "vespo_lambda_neg": 2.0,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "off_policy_mask_threshold": None,
        "cast_lm_head_to_fp32": False,
        **NO_ROUTER_LOSS,
        "cache_implementation": None,
        "use_transformers_continuous_batching": False,
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "sequence_mask",
        "vllm_importance_sampling_clip_max": 3.0,
        "vllm_importance_sampling_clip_min": None,
    },
)

RECIPES: dict[str, Recipe] = {
    "sft": Recipe("SFTConfig", "aligntune_trl.algorithms.sft", NO_ROUTER_LOSS),
    "dpo": Recipe("DPOConfig", "aligntune_trl.algorithms.dpo", NO_ROUTER_LOSS),
    "grpo": GROUP,
    "gspo": GROUP,
    "dapo": GROUP,
    "dr_grpo": GROUP,
    "reward": Recipe(
        "RewardConfig", "aligntune_trl.algorithms.reward", {"eos_token": None, "chat_template_path": None}
    ),
    "ppo": Recipe(
        "aligntune_trl.algorithms.ppo.config:PPOConfig",
        "aligntune_trl.algorithms.ppo.build",
        {"remove_unused_columns": False, "ddp_find_unused_parameters": False},
    ),
}
