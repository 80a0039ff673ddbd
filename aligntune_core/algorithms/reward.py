"""Reward-model training: a classifier with one output that scores the chosen answer higher."""

from __future__ import annotations

from aligntune_core.algorithms.base import Algorithm, epochs, learning_rate
from aligntune_core.fields import Section, option


class RewardParameters(Section):
    """Parameters of reward-model training."""

    center_rewards_coefficient: float | None = option(
        "weight of a term that keeps scores around zero (https://arxiv.org/abs/2312.09244 takes 0.01)",
        None,
        ge=0,
        neutral=(0,),
        off="no such term",
    )
    disable_dropout: bool = option("switch dropout off", True, source="TRL")


REWARD = Algorithm(
    name="reward",
    parameters=RewardParameters,
    formats=("margins",),
    head="score",
    long_rows="drop",
    figures={
        "reward_accuracy": "share of pairs whose chosen completion scores higher",
        "reward_margin": "mean difference of the scores of chosen and rejected",
    },
    paper="https://arxiv.org/abs/2203.02155",
    title="Reward model",
    aliases=("reward_model", "reward_modeling", "rm"),
    defaults={
        "optim.learning_rate": learning_rate(1e-5, 1e-4, "InstructGPT's 9e-6, rounded"),
        "optim.num_epochs": epochs(1.0, "InstructGPT paper"),
    },
)
