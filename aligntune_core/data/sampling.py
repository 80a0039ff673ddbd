"""Prompts of ``Trainer.generate``: one or several, checked before a model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.data.conversations import is_messages, read_messages
from aligntune_core.data.formats.base import RowProblem
from aligntune_core.errors import ConfigError, DataError
from aligntune_core.types import Sampling


def as_prompts(prompts: Any) -> list[Any]:
    """Prompts (a string, a list of messages, or a sequence of these) as a list of such.

    Raises:
        DataError: something else; says which prompt.
    """
    if isinstance(prompts, str) or is_messages(prompts):
        prompts = [prompts]
    if isinstance(prompts, Mapping) or not isinstance(prompts, Sequence):
        raise DataError(
            f"prompts: got {type(prompts).__name__}; give a string, a list of messages, or a list of these"
        )
    return [_checked(prompt, number) for number, prompt in enumerate(prompts)]


def check_sampling(sampling: Sampling) -> None:
    """Ranges of what ``generate`` takes.

    Raises:
        ConfigError: with every problem.
    """
    problems = []
    if not _whole(sampling.max_new_tokens, 1):
        problems.append(f"max_new_tokens={sampling.max_new_tokens!r} must be a whole number of at least 1")
    if not isinstance(sampling.temperature, int | float) or not sampling.temperature >= 0:
        problems.append(f"temperature={sampling.temperature!r} must be a number of at least 0; 0 is greedy")
    if not isinstance(sampling.top_p, int | float) or not 0 < sampling.top_p <= 1:
        problems.append(f"top_p={sampling.top_p!r} must be above 0 and at most 1")
    if not _whole(sampling.n, 1):
        problems.append(f"n={sampling.n!r} must be a whole number of at least 1")
    elif sampling.n > 1 and sampling.temperature == 0:
        problems.append(
            f"n={sampling.n} with temperature=0 would give equal completions; take a temperature above 0"
        )
    if not all(isinstance(text, str) and text for text in sampling.stop):
        problems.append(f"stop={sampling.stop!r} must be texts that are not empty")
    if sampling.seed is not None and not _whole(sampling.seed, 0):
        problems.append(f"seed={sampling.seed!r} must be a whole number of at least 0")
    if problems:
        raise ConfigError(problems, where="generate")


def _whole(number: Any, least: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def _checked(prompt: Any, number: int) -> Any:
    if isinstance(prompt, str):
        return prompt
    try:
        return read_messages(prompt, f"prompt {number}")
    except RowProblem as problem:
        raise DataError(f"{problem.column}: {problem.reason}") from None
