"""Names that callers may write as enum members or as plain strings; both mean the same.

They are strings: ``BackendType.TRL == "trl"``. Backends and algorithms that a plugin brings need no member here,
their plain names are enough.
"""

from __future__ import annotations

from enum import EnumType, StrEnum
from typing import TYPE_CHECKING

from aligntune_core.algorithms.catalogue import own


class BackendType(StrEnum):
    """Names of the backends that this project ships, and ``AUTO``: let the core choose and say why."""

    AUTO = "auto"
    TRL = "trl"
    UNSLOTH = "unsloth"


class TrainingType(StrEnum):
    """The kind of a run, as ``resolve_config`` takes it."""

    SFT = "sft"
    RL = "rl"


if TYPE_CHECKING:

    class _Algorithms(EnumType):
        def __getattr__(cls, name: str) -> RLAlgorithm: ...

    class RLAlgorithm(StrEnum, metaclass=_Algorithms):
        """Algorithms of ``create_rl_trainer``; each file of ``aligntune_core.algorithms`` brings its own member."""

else:
    RLAlgorithm = StrEnum(
        "RLAlgorithm",
        {algorithm.name.upper(): algorithm.name for algorithm in own() if algorithm.kind == "rl"},
        module=__name__,
    )
    RLAlgorithm.__doc__ = "Algorithms of ``create_rl_trainer``: a member for each, named as its file is."
