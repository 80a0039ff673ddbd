"""aligntune: one API to fine-tune and align language models on interchangeable training backends.

Everything here is imported when first asked for, so ``import aligntune`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.config import resolve_config
    from aligntune_core.create import create_rl_trainer, create_sft_trainer, create_trainer
    from aligntune_core.enums import BackendType, RLAlgorithm, TrainingType
    from aligntune_core.pipeline.trainer import Trainer
    from aligntune_core.version import __version__

__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "BackendType",
    "RLAlgorithm",
    "Trainer",
    "TrainingType",
    "__version__",
    "create_rl_trainer",
    "create_sft_trainer",
    "create_trainer",
    "resolve_config",
]
