"""Between trainers and rewards: make a run's rewards, offer them in TRL's form, say what is in force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isclose
from typing import Any

from aligntune_core.toolkit import Reward, RewardSet, build_rewards, read_rewards

OVERLONG = "overlong"
"""The built-in reward that DAPO adds by itself."""

FLOAT32 = 1e-6  # TRL keeps weights in float32

# What TRL passes to reward functions beside the rows' columns.
_EXTRAS = ("trainer_state", "log_extra", "log_metric", "environments")


def build(config: Any, tokenizer: Any, device: Any = None, report: Any = None) -> RewardSet:
    """The rewards of a run, and the punishment that DAPO adds to them where the run does not name it itself.

    Imports functions and checks them; reward models are loaded by ``RewardSet.load``.

    Args:
        config: resolved configuration.
        tokenizer: the policy's.
        device: where reward models run.
        report: ``DataReport`` of the rows, which tells whether their prompts were plain texts.

    Raises:
        ConfigError: no reward, or one that cannot be used.
    """
    parameters = config.parameters
    defaults = {"max_completion_length": parameters.max_completion_length}
    built = build_rewards(config.rewards, tokenizer, device, defaults)
    rewards = RewardSet(built.rewards, tokenizer, getattr(report, "text_prompts", False))
    weight = getattr(parameters, "overlong_punishment", 0.0)
    if not weight or OVERLONG in rewards.names:
        return rewards
    punishment = {
        "type": OVERLONG,
        "weight": weight,
        "params": {"soft_punish_cache": parameters.overlong_cache},
    }
    [added] = build_rewards(type(config.rewards)(functions=[punishment]), tokenizer, device, defaults).rewards
    return RewardSet([*rewards.rewards, added], tokenizer, rewards.text_prompts)


def trl_functions(rewards: RewardSet) -> list[Callable[..., list[float]]]:
    """Each reward as a function that TRL's trainers call, under the reward's name."""
    return [_trl_function(rewards, reward) for reward in rewards.rewards]


def _trl_function(rewards: RewardSet, reward: Reward) -> Callable[..., list[float]]:
    def score(
        prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any = None, **more: Any
    ) -> list[float]:
        extras = {name: more.pop(name) for name in _EXTRAS if name in more}
        return reward.score(rewards.batch(prompts, completions, more, completion_ids, extras))

    score.__name__ = reward.name
    return score


def in_force(config: Any, rewards: RewardSet, weights: Sequence[float]) -> dict[str, Any]:
    """Config path -> value of the rewards section, read from what was built.

    Args:
        config: resolved configuration.
        rewards: what the trainer scores with.
        weights: what the trainer weighs them with.
    """
    section = config.rewards
    names = tuple(spec.name for spec in read_rewards(section))
    as_configured = rewards.names[: len(names)] == names
    values: dict[str, Any] = {
        "rewards.functions": section.functions if as_configured else list(rewards.names),
        "rewards.model": section.model if as_configured else None,
    }
    if section.weights is not None:
        values["rewards.weights"] = [
            mine if isclose(mine, theirs, rel_tol=FLOAT32) else float(theirs)
            for mine, theirs in zip(rewards.weights, weights[: len(section.weights)], strict=False)
        ]
    return values
