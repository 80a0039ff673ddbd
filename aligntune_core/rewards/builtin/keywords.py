"""Keywords that must, or must not, occur."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field


def keyword(
    text: str,
    *,
    words: Annotated[tuple[str, ...], Field(description="words or phrases wanted")] = (),
    forbidden: Annotated[tuple[str, ...], Field(description="words or phrases any of which makes it 0")] = (),
    ignore_case: Annotated[bool, Field(description="upper and lower case are the same")] = True,
) -> float:
    """The share of wanted words that occur; 0 as soon as a forbidden one does.

    Args:
        text: the completion.
        words: whole words or phrases; where there are none, everything without a forbidden word gets 1.
        forbidden: whole words or phrases that must not occur.
        ignore_case: whether case is ignored; default True.

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
