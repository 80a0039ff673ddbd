"""Rewards, which score completions in online reinforcement learning. See docs/rewards.md.

Light: torch and transformers are imported when a reward model is loaded, other libraries when their reward scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core._lazy import lazy

if TYPE_CHECKING:
    from aligntune_core.rewards.batch import Reward, Samples
    from aligntune_core.rewards.catalogue import RewardInfo, list_rewards
    from aligntune_core.rewards.function import FunctionReward, reference_column
    from aligntune_core.rewards.model import RewardModel
    from aligntune_core.rewards.reward_set import RewardSet, Scores, build_rewards
    from aligntune_core.rewards.signature import reads
    from aligntune_core.rewards.spec import RewardSpec, read_rewards

__getattr__, __dir__ = lazy(__name__)

__all__ = [
    "FunctionReward",
    "Reward",
    "RewardInfo",
    "RewardModel",
    "RewardSet",
    "RewardSpec",
    "Samples",
    "Scores",
    "build_rewards",
    "list_rewards",
    "read_rewards",
    "reads",
    "reference_column",
]
