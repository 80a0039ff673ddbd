"""Words and lengths: keywords, a wanted range, DAPO's punishment of overlong completions, repetition."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field


def keyword(
    text: str,
    *,
    words: Annotated[tuple[str, ...], Field(description="words or phrases wanted")] = (),
    forbidden: Annotated[tuple[str, ...], Field(description="words or phrases any of which makes it 0")] = (),
    ignore_case: Annotated[bool, Field(description="upper and lower case are the same")] = True,
) -> float:
    """The share of wanted words that occur; 0 as soon as a forbidden one does.

    Only whole words count. Where none are wanted, everything without a forbidden one gets 1.

    Raises:
        ValueError: neither words nor forbidden is given.
    """
    if not words and not forbidden:
        raise ValueError("give words, forbidden, or both")
    flags = re.IGNORECASE if ignore_case else 0

    def occurs(word: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags) is not None

    if any(map(occurs, forbidden)):
        return 0.0
    return sum(map(occurs, words)) / len(words) if words else 1.0


def length(
    text: str,
    *,
    min_length: Annotated[int, Field(ge=0, description="shortest length that gets 1")] = 10,
    max_length: Annotated[int, Field(ge=1, description="longest length that gets 1")] = 200,
    unit: Annotated[Literal["words", "characters"], Field(description="what is counted")] = "words",
) -> float:
    """1 within a range of lengths, falling linearly to 0 at length 0 and at twice the longest.

    Words are what white space separates.

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


def repetition(
    text: str,
    *,
    ngram_size: Annotated[int, Field(ge=1, description="words an n-gram has")] = 3,
    max_penalty: Annotated[float, Field(ge=0, description="size of the greatest penalty")] = 1.0,
) -> float:
    """Minus the share of word n-grams that repeat an earlier one: 0 where all differ, towards -1 where all are one.

    After appendix C.2 of "Demystifying Long Chain-of-Thought Reasoning" (https://arxiv.org/abs/2502.03373), on words
    of any case. Fewer words than ``ngram_size`` give 0.
    """
    words = text.casefold().split()
    ngrams = [tuple(words[i : i + ngram_size]) for i in range(len(words) - ngram_size + 1)]
    repeated = 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
    return -max_penalty * repeated if repeated else 0.0
