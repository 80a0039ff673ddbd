"""Mathematical equivalence, by math-verify (https://github.com/huggingface/Math-Verify)."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

from aligntune_core.rewards.text import final_answer

_SECONDS = 5


def math(text: str, reference: Any) -> float:
    """1 where the final answer is mathematically equal to the reference, else 0.

    ``1/2``, ``0.5`` and ``\\boxed{\\frac{1}{2}}`` are equal, so are ``x+1`` and ``1+x``. Where neither side parses as
    mathematics, the final answers are compared as text. Each parse and comparison may take 5 seconds; outside the
    main thread, where no alarm can be set, there is no limit.

    Args:
        text: the completion.
        reference: the row's answer; a longer solution is cut to its final answer.

    Raises:
        ImportError: math-verify is not installed.
    """
    from math_verify import verify

    said, right = final_answer(text), final_answer(str(reference))
    if said.casefold() == right.casefold():
        return float(bool(right))
    limit = _SECONDS if threading.current_thread() is threading.main_thread() else None
    gold = _parsed(right, limit)
    return float(bool(gold) and verify(list(gold), list(_parsed(said, limit)), timeout_seconds=limit))


@lru_cache(maxsize=4096)
def _parsed(text: str, limit: int | None) -> tuple[Any, ...]:
    """What math-verify reads in ``text``; bare LaTeX, which it passes over, is tried once more between dollars."""
    from math_verify import parse

    found = parse(text, parsing_timeout=limit)
    if not found and "\\" in text:
        found = parse(f"${text}$", parsing_timeout=limit)
    return tuple(found)
