"""Direct preference optimisation with TRL's DPOTrainer, against the policy as it was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aligntune_trl.algorithms.recipe import NO_ROUTER_LOSS, Counts, Figure, Recipe


def counts(inputs: Mapping[str, Any]) -> dict[str, int]:
    """Pairs of a micro-batch, of which all chosen sides come first; figures of tokens are by the tokens of a side."""
    chosen, rejected = (int(side.sum()) for side in inputs["completion_mask"][:, 1:].chunk(2))
    return {
        "": len(inputs["input_ids"]) // 2,
        "mean_token_accuracy": chosen,
        "entropy": chosen + rejected,
        "logits/chosen": chosen,
        "logits/rejected": rejected,
    }


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
    counts=Counts(counts),
)  # fmt: skip
