"""Answers to reasoning-gym's tasks (https://github.com/open-thought/reasoning-gym), scored by the tasks themselves.

``dataset_name="reasoning_gym/chain_sum"`` makes rows of a task (aligntune_core/data/sources/reasoning_gym.py). Each row
carries the recipe of its entry (task, parameters, seed, index) instead of the entry: a task is reproducible from these,
while an entry's metadata does not always survive a table (tuples, keys that are no strings).
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from functools import lru_cache
from typing import Any

from aligntune_core.errors import ConfigError, DataError
from aligntune_core.rewards.text import after_thinking, final_answer
from aligntune_core.wording import did_you_mean

PREFIX = "reasoning_gym/"
RECIPE = "reasoning_gym"

_log = logging.getLogger("aligntune.rewards")


def reasoning_gym(text: str, reasoning_gym: str) -> float:
    """The task's own score of the final answer, 0 to 1; many tasks give part of it for a near miss.

    The final answer is found as ``exact_answer`` finds it; of it and the whole text after ``</think>`` the better
    score counts, as some tasks' answers span lines. An answer that the task's scorer cannot read scores 0. The column
    holds the row's recipe, made by ``reasoning_gym_rows``.

    Raises:
        ConfigError: the recipe cannot be followed here.
        DataError: the column holds no recipe.
    """
    dataset, entry = _recalled(reasoning_gym)
    whole = after_thinking(text).strip()
    return max(_score(dataset, entry, answer) for answer in {final_answer(text), whole})


def _score(dataset: Any, entry: dict[str, Any], answer: str) -> float:
    """The task's score. Some scorers parse what the model wrote and raise on nonsense: that is a wrong answer."""
    try:
        return float(dataset.score_answer(answer=answer, entry=entry))
    except Exception as error:
        if answer == entry["answer"]:  # the right answer cannot be nonsense: the scorer is broken
            raise
        _log.debug(
            "reasoning-gym's %s could not read %r, scored 0: %r", type(dataset).__name__, answer, error
        )
        return 0.0


@lru_cache(maxsize=65536)
def _recalled(recipe: str) -> tuple[Any, dict[str, Any]]:
    """The task's scorer and the entry that a recipe stands for."""
    try:
        read = json.loads(recipe)
        task, size, seed, index = read["task"], read["size"], read["seed"], read["index"]
        settings = json.dumps(read["params"], sort_keys=True)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(
            f'column "{RECIPE}" holds {recipe!r}, which is no recipe of a row. Use a dataset '
            f'"{PREFIX}TASK", or rows from aligntune_core.data.reasoning_gym_rows'
        ) from error
    dataset = dataset_of(task, size, seed, settings)
    return dataset, entry_of(dataset, index)


def entry_of(dataset: Any, index: int) -> dict[str, Any]:
    """One entry of a task."""
    # Some tasks print while they work; stdout may be a command's JSON.
    with contextlib.redirect_stdout(sys.stderr):
        entry: dict[str, Any] = dataset[index]
    return entry


@lru_cache(maxsize=256)
def dataset_of(task: str, size: int, seed: int, settings: str) -> Any:
    """A task of reasoning-gym, with its settings as JSON.

    Raises:
        ConfigError: unknown task, wrong settings, or reasoning-gym is not installed.
    """
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise ConfigError(
            f'"{PREFIX}{task}" and the reward "reasoning_gym" need reasoning-gym: pip install reasoning-gym'
        ) from error
    if task not in DATASETS:
        raise ConfigError(
            f'reasoning-gym has no task "{task}".{did_you_mean(task, DATASETS)} Its {len(DATASETS)} tasks are '
            'listed by: python -c "from reasoning_gym.factory import DATASETS; print(*DATASETS)"'
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return reasoning_gym.create_dataset(task, size=size, seed=seed, **json.loads(settings))
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"reasoning_gym/{task} refuses the settings {settings}: {error}") from error
