"""Proximal policy optimisation: our own trainer, since TRL has none after 1.12."""

from aligntune_trl.algorithms.ppo.config import PPOConfig
from aligntune_trl.algorithms.ppo.trainer import PPOTrainer

__all__ = ["PPOConfig", "PPOTrainer"]
