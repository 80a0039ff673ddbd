"""Reward models: a classifier with one output, trained with TRL's RewardTrainer on pairs of answers."""

from __future__ import annotations

from aligntune_trl.algorithms.recipe import Counts, Figure, Recipe

REWARD = Recipe(
    name="reward",
    arguments="trl:RewardConfig",
    trainer="trl:RewardTrainer",
    fixed={"eos_token": None, "chat_template_path": None},
    figures={"reward_accuracy": Figure("accuracy"), "reward_margin": Figure("margin")},
    native_figures=("accuracy", "margin", "min_reward", "mean_reward", "max_reward"),
    counts=Counts(ends={"min_reward": min, "max_reward": max}),
)
