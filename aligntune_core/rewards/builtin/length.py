"""Length: a wanted range, and DAPO's punishment of overlong completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field


def length(
    text: str,
    *,
    min_length: Annotated[int, Field(ge=0, description="shortest length that gets 1")] = 10,
    max_length: Annotated[int, Field(ge=1, description="longest length that gets 1")] = 200,
    unit: Annotated[Literal["words", "characters"], Field(description="what is counted")] = "words",
) -> float:
    """1 within a range of lengths, falling linearly to 0 at length 0 and at twice the longest.

    Args:
        text: the completion.
        min_length: shortest length that gets 1; default 10.
        max_length: longest length that gets 1; default 200.
        unit: words (separated by white space) or characters; default words.

    Raises:
        ValueError: min_length is greater than max_length.
    """
    if min_length > max_length:
        raise ValueError(f"min_length {min_length} is greater than max_length {max_length}")
    n = len(text.split()) if unit == "words" else len(text)
    if n < min_length:
        return n / min_length
    return max(0.0, 1 - max(0, n - max_length) / max_length)


def overlong(
    text: str,
    completion_ids: Sequence[int],
    *,
    max_completion_length: Annotated[int, Field(ge=1, description="tokens; by default the run's own limit")],
    soft_punish_cache: Annotated[
        int | None,
        Field(ge=0, description="tokens before the limit where punishment begins; none: a fifth of it"),
    ] = None,
) -> float:
    """0 for completions well below the token limit, falling linearly to -1 at the limit (soft overlong punishment).

    Equation 13 of DAPO (https://arxiv.org/abs/2503.14476), which uses a limit of 20,480 and a cache of 4,096 tokens.

    Args:
        text: the completion; not looked at.
        completion_ids: its tokens.
        max_completion_length: the limit in tokens.
        soft_punish_cache: width of the falling part in tokens; default a fifth of the limit.

    Raises:
        ValueError: the cache is greater than the limit.
    """
    cache = max(1, max_completion_length // 5) if soft_punish_cache is None else soft_punish_cache
    if cache > max_completion_length:
        raise ValueError(
            f"soft_punish_cache {cache} is greater than max_completion_length {max_completion_length}"
        )
    over = len(completion_ids) - (max_completion_length - cache)
    if over <= 0:
        return 0.0
    return -1.0 if over >= cache else -over / cache
