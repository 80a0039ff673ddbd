"""What plugin authors import. Light: nothing here imports torch or a backend.

The users' functions (``create_sft_trainer`` and so on) are here too, imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.config import Config as Config
    from aligntune_core.config import resolve_config as resolve_config
    from aligntune_core.create import create_rl_trainer as create_rl_trainer
    from aligntune_core.create import create_sft_trainer as create_sft_trainer
    from aligntune_core.create import create_trainer as create_trainer
    from aligntune_core.enums import BackendType as BackendType
    from aligntune_core.enums import RLAlgorithm as RLAlgorithm
    from aligntune_core.enums import TrainingType as TrainingType
    from aligntune_core.hookspecs import hookimpl as hookimpl
    from aligntune_core.pipeline.trainer import Trainer as Trainer
    from aligntune_core.types import BackendInfo as BackendInfo
    from aligntune_core.types import Datasets as Datasets
    from aligntune_core.types import Device as Device
    from aligntune_core.types import Engine as Engine
    from aligntune_core.types import LoadedModel as LoadedModel
    from aligntune_core.types import Prepared as Prepared
    from aligntune_core.types import RowTokens as RowTokens
    from aligntune_core.types import RunContext as RunContext
    from aligntune_core.types import Sampling as Sampling
    from aligntune_core.types import Support as Support
    from aligntune_core.types import Topology as Topology
    from aligntune_core.types import TrainResult as TrainResult
    from aligntune_core.version import __version__ as __version__

__getattr__, __dir__ = lazy(__name__)
