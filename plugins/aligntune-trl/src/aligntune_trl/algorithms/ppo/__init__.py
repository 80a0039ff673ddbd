"""Proximal policy optimisation: our own trainer, since TRL has none after 1.12."""

from __future__ import annotations

from typing import Any

from aligntune_trl.algorithms.recipe import Figure, Recipe, imported

_HEAVY = {
    "PPOConfig": "aligntune_trl.algorithms.ppo.config:PPOConfig",
    "PPOTrainer": "aligntune_trl.algorithms.ppo.trainer:PPOTrainer",
}


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return imported(_HEAVY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


PPO = Recipe(
    name="ppo",
    arguments=_HEAVY["PPOConfig"],
    fixed={"remove_unused_columns": False, "ddp_find_unused_parameters": False},
    figures={name: Figure(name) for name in ("reward", "kl", "completion_length", "truncated")},
    build="aligntune_trl.algorithms.ppo.build:build",
)
