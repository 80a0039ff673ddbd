"""Rewards: what scores completions in online reinforcement learning. See docs/rewards.md.

Light: torch and transformers are imported when a reward model is loaded, other libraries when their reward scores.
"""

from aligntune_core._lazy import lazy

_WHERE = {
    "Batch": "aligntune_core.rewards.batch",
    "FunctionReward": "aligntune_core.rewards.function",
    "Reward": "aligntune_core.rewards.batch",
    "RewardInfo": "aligntune_core.rewards.catalog",
    "RewardModel": "aligntune_core.rewards.model",
    "RewardSet": "aligntune_core.rewards.reward_set",
    "RewardSpec": "aligntune_core.rewards.spec",
    "Scores": "aligntune_core.rewards.reward_set",
    "build_rewards": "aligntune_core.rewards.building",
    "list_rewards": "aligntune_core.rewards.catalog",
    "read_rewards": "aligntune_core.rewards.spec",
    "reasoning_gym_rows": "aligntune_core.rewards.reasoning_gym",
    "reference_column": "aligntune_core.rewards.function",
}
__all__ = [*_WHERE]

__getattr__, __dir__ = lazy(__name__, _WHERE)
