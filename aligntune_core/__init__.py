"""What plugin authors import. Light: nothing here imports torch or a backend.

The users' functions (``create_sft_trainer`` and so on) are here too, imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy
from aligntune_core.hookspecs import hookimpl
from aligntune_core.types import (
    BackendInfo,
    Datasets,
    Device,
    Engine,
    LoadedModel,
    Prepared,
    RowTokens,
    RunContext,
    Sampling,
    Support,
    Topology,
    TrainResult,
)
from aligntune_core.version import __version__

if TYPE_CHECKING:
    from aligntune_core.config import Config, resolve_config
    from aligntune_core.create import create_rl_trainer, create_sft_trainer, create_trainer
    from aligntune_core.enums import BackendType, RLAlgorithm, TrainingType
    from aligntune_core.pipeline.trainer import Trainer

__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "BackendInfo",
    "BackendType",
    "Config",
    "Datasets",
    "Device",
    "Engine",
    "LoadedModel",
    "Prepared",
    "RLAlgorithm",
    "RowTokens",
    "RunContext",
    "Sampling",
    "Support",
    "Topology",
    "TrainResult",
    "Trainer",
    "TrainingType",
    "__version__",
    "create_rl_trainer",
    "create_sft_trainer",
    "create_trainer",
    "hookimpl",
    "resolve_config",
]
