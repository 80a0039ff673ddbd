"""The import path of tutorials and notebooks: the same objects as in ``aligntune`` and ``aligntune_core``."""

from __future__ import annotations

from aligntune_core.config import resolve_config
from aligntune_core.create import create_rl_trainer, create_sft_trainer, create_trainer
from aligntune_core.enums import BackendType, RLAlgorithm, TrainingType

__all__ = [
    "BackendType",
    "RLAlgorithm",
    "TrainingType",
    "create_rl_trainer",
    "create_sft_trainer",
    "create_trainer",
    "resolve_config",
]
