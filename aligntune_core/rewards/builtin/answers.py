"""The final answer against the row's: as text, and mathematically by math-verify
(https://github.com/huggingface/Math-Verify)."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from aligntune_core.rewards.text import final_answer

_SECONDS = 5
_CHARACTERS = 1000
# A word that is neither a LaTeX command nor a function: the text is prose around a number.
_WORD = re.compile(r"(?<![\\A-Za-z])(?!(?:sqrt|sin|cos|tan|log|ln|exp|pi)\b)[A-Za-z]{2,}")


def exact_answer(
    text: str,
    reference: Any,
    *,
    ignore_case: Annotated[bool, Field(description="upper and lower case are the same")] = True,
    extract: Annotated[
        bool, Field(description="compare the final answer inside the text, not all of it")
    ] = True,
) -> float:
    r"""1 where the final answer equals the reference as text, else 0.

    The final answer is what stands in ``<answer>`` tags, in ``\boxed{}``, after ``####`` or after "answer is"; a text
    with none of them is compared whole. Of the reference it is taken likewise. Runs of white space count as one space.
    """
    answer, right = (final_answer(t) if extract else t for t in (text, str(reference)))
    answer, right = (" ".join(t.split()) for t in (answer, right))
    return float(answer.casefold() == right.casefold() if ignore_case else answer == right)


def math(text: str, reference: Any) -> float:
    """1 where the final answer is mathematically equal to the reference, else 0.

    ``1/2``, ``0.5`` and ``\\boxed{\\frac{1}{2}}`` are equal, so are ``x+1`` and ``1+x``. Where neither side parses as
    mathematics, the final answers are compared as text. Of a long answer the last 1,000 characters count. Each parse
    and comparison may take 5 seconds; outside the main thread, where no alarm can be set, there is no limit.

    Raises:
        ImportError: math-verify is not installed.
    """
    from math_verify import verify

    answer, right = final_answer(text)[-_CHARACTERS:], final_answer(str(reference))[-_CHARACTERS:]
    if answer.casefold() == right.casefold():
        return float(bool(right))
    limit = _SECONDS if threading.current_thread() is threading.main_thread() else None
    gold = _parsed(right, limit)
    return float(bool(gold) and verify(list(gold), list(_parsed(answer, limit)), timeout_seconds=limit))


@lru_cache(maxsize=4096)
def _parsed(text: str, limit: int | None) -> tuple[Any, ...]:
    """The expressions that math-verify reads in ``text``.

    A bare expression is read as LaTeX: as prose, ``1+x`` would be the number 1 in it.
    """
    from math_verify import parse

    expressions = []
    if "$" not in text and not _WORD.search(text):
        expressions = parse(f"${text}$", parsing_timeout=limit)
    return tuple(expressions or parse(text, parsing_timeout=limit))
