"""Direct preference optimisation with TRL's DPOTrainer, against the policy as it was loaded."""

from __future__ import annotations

from aligntune_trl.algorithms.recipe import NO_ROUTER_LOSS, Figure, Recipe

DPO = Recipe(
    name="dpo",
    arguments="trl:DPOConfig",
    trainer="trl:DPOTrainer",
    fixed=NO_ROUTER_LOSS,
    figures={
        "token_accuracy": Figure("mean_token_accuracy"),
        "reward_accuracy": Figure("rewards/accuracies"),
        "reward_margin": Figure("rewards/margins"),
    },
    native_figures=("mean_token_accuracy", "rewards/chosen", "rewards/rejected", "rewards/accuracies",
                    "rewards/margins", "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected"),
)  # fmt: skip
