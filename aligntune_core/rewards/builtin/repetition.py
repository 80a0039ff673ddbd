"""Repetition."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field


def repetition(
    text: str,
    *,
    ngram_size: Annotated[int, Field(ge=1, description="words an n-gram has")] = 3,
    max_penalty: Annotated[float, Field(ge=0, description="size of the greatest penalty")] = 1.0,
) -> float:
    """Minus the share of word n-grams that repeat an earlier one: 0 where all differ, towards -1 where all are one.

    After appendix C.2 of "Demystifying Long Chain-of-Thought Reasoning" (https://arxiv.org/abs/2502.03373), on words.

    Args:
        text: the completion; case is ignored. Fewer words than ``ngram_size`` give 0.
        ngram_size: words an n-gram has; default 3.
        max_penalty: scale of the penalty; default 1.
    """
    words = text.casefold().split()
    ngrams = [tuple(words[i : i + ngram_size]) for i in range(len(words) - ngram_size + 1)]
    repeated = 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
    return -max_penalty * repeated if repeated else 0.0
