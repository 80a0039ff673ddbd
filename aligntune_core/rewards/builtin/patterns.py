"""Formats: a regular expression, XML tags, a thinking part."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field


def regex(
    text: str,
    *,
    pattern: Annotated[str, Field(description="Python regular expression; the dot matches newlines too")],
    search: Annotated[bool, Field(description="the pattern may match anywhere, not the whole text")] = False,
) -> float:
    """1 where the completion matches a regular expression, else 0.

    Args:
        text: the completion; surrounding white space is ignored.
        pattern: the expression, compiled with DOTALL.
        search: match anywhere; default False, the whole text.

    Raises:
        re.error: the pattern does not compile.
    """
    compiled = re.compile(pattern, re.DOTALL)
    return float(bool(compiled.search(text) if search else compiled.fullmatch(text.strip())))


def xml_tags(
    text: str,
    *,
    tags: Annotated[tuple[str, ...], Field(min_length=1, description="tags in the order wanted")] = (
        "think",
        "answer",
    ),
    partial: Annotated[float, Field(ge=0, le=1, description="most that an incomplete format can get")] = 0.5,
) -> float:
    """1 where the completion is the wanted tags one after the other, each once, filled, and nothing else.

    Anything less gets ``partial`` times the share of tags that are opened and closed once, with something inside.

    Args:
        text: the completion.
        tags: names in order; default think, answer.
        partial: credit for an incomplete format, 0..1; default 0.5.
    """
    bodies = [re.findall(rf"<{re.escape(t)}>(.*?)</{re.escape(t)}>", text, re.DOTALL) for t in tags]
    once = [
        len(body) == 1 and bool(body[0].strip()) and text.count(f"<{t}>") == 1 and text.count(f"</{t}>") == 1
        for t, body in zip(tags, bodies, strict=True)
    ]
    layout = r"\s*".join(rf"<{re.escape(t)}>.*?</{re.escape(t)}>" for t in tags)
    if all(once) and re.fullmatch(layout, text.strip(), re.DOTALL):
        return 1.0
    return partial * sum(once) / len(tags)


def think_format(
    text: str,
    *,
    opened_by_prompt: Annotated[
        bool, Field(description="the chat template ends in `<think>` already")
    ] = False,
) -> float:
    """1 where the completion thinks in ``<think>...</think>`` first and then answers, else 0.

    Args:
        text: the completion.
        opened_by_prompt: the opening tag is part of the prompt; default False.
    """
    text = text.strip()
    if opened_by_prompt and not text.startswith("<think>"):
        text = f"<think>{text}"
    thought = re.fullmatch(r"<think>(.*?)</think>(.*)", text, re.DOTALL)
    if thought is None or re.search(r"</?think>", thought[1] + thought[2]):
        return 0.0
    return float(bool(thought[1].strip()) and bool(thought[2].strip()))
