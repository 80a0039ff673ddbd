"""Whether the text that is trained is the text of the row: nothing that a template drops, no stray special token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.texts import shortened

Messages = Sequence[Mapping[str, Any]]
Special = re.Pattern[str] | None
"""Finds special tokens in a text."""

# Keys of a message beside its content that a template has to write where a row has them.
_REASONING = ("reasoning_content", "thinking", "reasoning")


def missing(messages: Messages, text: str) -> str:
    """What of some messages does not stand in the text that a template made of them; "" where all of it does.

    White space around a part may go, as most templates strip it.
    """
    for message in messages:
        for name, part in _parts(message):
            if part not in text:
                return f"{name} of the {message['role']} ({shortened(part)})"
    return ""


def _parts(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    content = message.get("content")
    if isinstance(content, str) and (stripped := content.strip()):
        yield "text", stripped
    for key in _REASONING:
        value = message.get(key)
        if isinstance(value, str) and value.strip():
            yield key, value.strip()
    for call in message.get("tool_calls") or ():
        yield "the call of a tool", str(call.get("function", call)["name"])


def unwritten_tools(tools: Sequence[Any], text: str) -> RowProblem | None:
    """The problem of definitions of tools that do not stand in a rendered text."""
    for tool in tools:
        name = tool.get("function", tool).get("name") if isinstance(tool, Mapping) else None
        if isinstance(name, str) and name not in text:
            return RowProblem(
                "tools",
                f"the chat template does not write the definition of {name}; use one that knows tools "
                "(chat_template=), or leave them out with unused_columns (their column's name in a list)",
            )
    return None


def stray_special(special: Special, messages: Messages) -> str:
    """The first special token that is spelt inside a message; "" where there is none."""
    for message in messages:
        content = message.get("content")
        match = special.search(content) if special and isinstance(content, str) else None
        if match:
            return match.group()
    return ""


def special_tokens(tokenizer: Any) -> Special:
    """What the tokenizer turns into one special token, the unknown one aside: corpora spell that as a word."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {str(token) for token in added if getattr(token, "special", False)}
    special.update(map(str, getattr(tokenizer, "all_special_tokens", ())))
    special.discard(str(getattr(tokenizer, "unk_token", None)))
    longest_first = sorted((token for token in special if len(token) > 2), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
