"""Rows of procedural tasks with verifiable answers, by reasoning-gym (https://github.com/open-thought/reasoning-gym).

``dataset_name="reasoning_gym/chain_sum"`` makes rows of a task, ``reward_functions=["reasoning_gym"]`` scores them.
"""

from __future__ import annotations

import json
from typing import Any

from aligntune_core.errors import ConfigError
from aligntune_core.rewards.builtin.reasoning_gym import PREFIX, RECIPE, dataset_of, entry_of


def reasoning_gym_rows(task: str, size: int, seed: int, **params: Any) -> list[dict[str, Any]]:
    """Make rows of one task.

    Args:
        task: a name of reasoning-gym, e.g. "chain_sum". A dataset name is taken too, with settings after a question
            mark: "reasoning_gym/chain_sum?min_terms=2&max_terms=3".
        size: number of rows.
        seed: seed of the rows; the same task, size, seed and params give the same rows.
        params: settings of the task, e.g. ``min_terms=2``; values that JSON holds.

    Returns:
        Rows with ``prompt`` (the question, a string), ``answer`` (None where the task has no single answer) and
        ``reasoning_gym`` (JSON, for the reward of that name).

    Raises:
        ConfigError: unknown task, wrong settings, or reasoning-gym is not installed.
    """
    params = {**_settings(task), **params}
    task = task.removeprefix(PREFIX).partition("?")[0]
    if size < 1:
        raise ConfigError(f"reasoning_gym/{task} needs at least one row, not {size}")
    try:
        settings = json.dumps(params, sort_keys=True)
    except TypeError as error:
        raise ConfigError(
            f"reasoning_gym/{task}: settings must be values that JSON holds; {error}"
        ) from error
    made = dataset_of(task, size, seed, settings)
    rows = []
    for index in range(size):
        entry = entry_of(made, index)
        recipe = {"task": task, "size": size, "seed": seed, "params": params, "index": index}
        recipe_text = json.dumps(recipe, sort_keys=True)
        rows.append({"prompt": entry["question"], "answer": entry["answer"], RECIPE: recipe_text})
    return rows


def _settings(name: str) -> dict[str, Any]:
    """The settings after the question mark of a name."""
    settings: dict[str, Any] = {}
    for part in filter(None, name.partition("?")[2].split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise ConfigError(f'"{name}": settings after "?" are NAME=VALUE, joined by "&"; "{part}" is not')
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings
