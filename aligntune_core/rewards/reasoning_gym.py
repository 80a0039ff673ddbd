"""Procedural tasks with verifiable answers, by reasoning-gym (https://github.com/open-thought/reasoning-gym).

``dataset_name="reasoning_gym/chain_sum"`` makes rows of a task, ``reward_functions=["reasoning_gym"]`` scores them.
Each row carries the recipe of its entry (task, parameters, seed, index) instead of the entry: a task is reproducible
from these, while an entry's metadata does not always survive a table (tuples, keys that are no strings).
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
    task, params = _read_name(task, params)
    if size < 1:
        raise ConfigError(f"reasoning_gym/{task} needs at least one row, not {size}")
    try:
        settings = json.dumps(params, sort_keys=True)
    except TypeError as error:
        raise ConfigError(
            f"reasoning_gym/{task}: settings must be values that JSON holds; {error}"
        ) from error
    made = _dataset(task, size, seed, settings)
    rows = []
    for index in range(size):
        entry = _entry(made, index)
        recipe = {"task": task, "size": size, "seed": seed, "params": params, "index": index}
        rows.append(
            {
                "prompt": entry["question"],
                "answer": entry["answer"],
                RECIPE: json.dumps(recipe, sort_keys=True),
            }
        )
    return rows


def _read_name(name: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take a dataset name apart: the task, and its settings, those given as keywords last."""
    task, _, query = name.removeprefix(PREFIX).partition("?")
    settings: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise ConfigError(f'"{name}": settings after "?" are NAME=VALUE, joined by "&"; "{part}" is not')
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return task, {**settings, **params}


def reasoning_gym(text: str, reasoning_gym: str) -> float:
    """The task's own score of the final answer, 0 to 1; many tasks give part of it for a near miss.

    The final answer is found as ``exact_answer`` finds it; of it and the whole text after ``</think>`` the better
    score counts, as some tasks' answers span lines. An answer that the task's scorer cannot read scores 0.

    Args:
        text: the completion.
        reasoning_gym: the row's recipe, made by ``reasoning_gym_rows``.

    Raises:
        ConfigError: the recipe cannot be followed here.
        DataError: the column holds no recipe.
    """
    dataset, entry = _recalled(reasoning_gym)
    whole = after_thinking(text).strip()
    answers = dict.fromkeys((final_answer(text), whole))
    return max(_score(dataset, entry, answer) for answer in answers)


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
            f'"{PREFIX}TASK", or rows from aligntune_core.rewards.reasoning_gym_rows'
        ) from error
    made = _dataset(task, size, seed, settings)
    return made, _entry(made, index)


def _entry(dataset: Any, index: int) -> dict[str, Any]:
    # Some tasks print while they work; stdout may be a command's JSON.
    with contextlib.redirect_stdout(sys.stderr):
        entry: dict[str, Any] = dataset[index]
    return entry


@lru_cache(maxsize=256)
def _dataset(task: str, size: int, seed: int, settings: str) -> Any:
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
