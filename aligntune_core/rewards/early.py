"""What can be said against a run's rewards before its weights load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aligntune_core.errors import ConfigError, RewardError
from aligntune_core.rewards.function import FunctionReward
from aligntune_core.rewards.reward_set import ModelReward

if TYPE_CHECKING:
    from aligntune_core.rewards.reward_set import RewardSet
    from aligntune_core.types import Datasets


def check_models(rewards: RewardSet) -> None:
    """Refuse reward models that are not there, or are none by their configuration.

    Raises:
        ConfigError: names each.
    """
    problems: list[str] = []
    for reward in rewards.rewards:
        if isinstance(reward, ModelReward):
            try:
                reward.model.check()
            except ConfigError as error:
                problems += [f'reward "{reward.name}": {problem}' for problem in error.problems]
    if problems:
        raise ConfigError(problems)


def check_columns(rewards: RewardSet, datasets: Datasets) -> None:
    """Refuse functions that need a column which the rows do not have, where the columns are known beforehand.

    Raises:
        ConfigError: names each with the columns that there are.
    """
    problems: list[str] = []
    for what, rows in (("training", datasets.train), ("held-out", datasets.eval)):
        columns = getattr(rows, "column_names", None)  # None for a stream that does not say
        if not columns:
            continue
        for reward in rewards.rewards:
            if isinstance(reward, FunctionReward):
                try:
                    reward.check_columns(columns)
                except RewardError as error:
                    problems.append(str(error).replace("the rows", f"the {what} rows", 1))
    if problems:
        raise ConfigError(problems)
