"""Names that callers may write as enum members or as plain strings; both mean the same.

They are strings: ``BackendType.TRL == "trl"``. Backends and algorithms that a plugin brings need no member here,
their plain names are enough.
"""

from __future__ import annotations

from enum import StrEnum


class BackendType(StrEnum):
    """Names of the backends that this project ships, and ``AUTO``: let the core choose and say why."""

    AUTO = "auto"
    TRL = "trl"
    UNSLOTH = "unsloth"


class TrainingType(StrEnum):
    """The kind of a run, as ``resolve_config`` takes it."""

    SFT = "sft"
    RL = "rl"


class RLAlgorithm(StrEnum):
    """Algorithms of ``create_rl_trainer``."""

    DPO = "dpo"
    PPO = "ppo"
    GRPO = "grpo"
    GSPO = "gspo"
    DAPO = "dapo"
    DR_GRPO = "dr_grpo"
    REWARD = "reward"
