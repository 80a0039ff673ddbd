"""Exact answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from aligntune_core.rewards.text import final_answer


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
    with none of them is compared whole. Runs of white space count as one space.

    Args:
        text: the completion.
        reference: the row's answer; a longer solution is cut to its final answer in the same way.
        ignore_case: whether case is ignored; default True.
        extract: whether to look for the final answer; default True.
    """
    answer, right = (final_answer(t) if extract else t for t in (text, str(reference)))
    answer, right = (" ".join(t.split()) for t in (answer, right))
    return float(answer.casefold() == right.casefold() if ignore_case else answer == right)
