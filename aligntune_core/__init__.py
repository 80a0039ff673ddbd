"""What plugin authors import. Light: nothing here imports torch or a backend."""

from aligntune_core.hookspecs import hookimpl
from aligntune_core.types import (
    BackendInfo,
    Datasets,
    Device,
    Engine,
    LoadedModel,
    Prepared,
    RunContext,
    Support,
    TrainResult,
)

__all__ = [
    "BackendInfo",
    "Datasets",
    "Device",
    "Engine",
    "LoadedModel",
    "Prepared",
    "RunContext",
    "Support",
    "TrainResult",
    "hookimpl",
]
