"""Whether the text that is trained is the text of the row: nothing that a template drops, no stray special token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.texts import shortened

Messages = Sequence[Mapping[str, Any]]
Special = re.Pattern[str] | None
"""Finds special tokens in a text."""

_PROBE = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
]
# Keys of a message beside its content that a template has to write where a row has them.
_REASONING = ("reasoning_content", "thinking", "reasoning")
_THOUGHT = re.compile(r"(</?think>)")
_MARKS = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(?:user|assistant|turn)\|?>|<\uff5cUser\uff5c>"
    r"|<\|START_OF_TURN_TOKEN\|>"
)
_START = 2000  # characters of a row that are searched for them


def missing(messages: Messages, text: str, start: int = 0) -> str:
    """What of some messages does not stand in the text that a template made of them; "" where all of it does.

    White space around a part and around marks of thinking may go, as most templates strip it; what a tool gave back may
    be quoted as in JSON.

    Args:
        messages: canonical ones.
        text: the rendered conversation, up to where these messages end.
        start: where they start; marks of thinking may stand before, as generation often starts with one.
    """
    for message in messages:
        for name, part in _parts(message):
            if not _stands(part, text, start) and not (
                message["role"] == "tool" and _stands(quoted(part), text, start)
            ):
                return f"{name} of the {message['role']} ({shortened(part)})"
    return ""


def without_thoughts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A reply without its reasoning: what any template has to write of one that is followed by others."""
    content = str(message["content"])
    rest = {key: value for key, value in message.items() if key not in _REASONING}
    return {**rest, "content": content.rpartition("</think>")[2]}


def _stands(part: str, text: str, start: int) -> bool:
    """Whether a part stands in a text from ``start`` on."""
    if text.find(part, start) >= 0:
        return True
    pieces = [piece.strip() for piece in _THOUGHT.split(part)]
    if len(pieces) == 1:
        return False
    end = len(text)
    for piece in reversed(pieces):
        end = text.rfind(piece, 0, end)
        if end < 0 or (end < start and piece and not _THOUGHT.fullmatch(piece)):
            return False
    return True


def quoted(text: str) -> str:
    """A text as templates quote it in JSON, without the quotation marks around it."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _parts(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    content = message.get("content")
    if isinstance(content, str) and (stripped := content.strip()):
        yield "text", stripped
    for key in _REASONING:
        value = message.get(key)
        if isinstance(value, str) and value.strip():
            yield key, value.strip()
    for call in message.get("tool_calls") or ():
        yield "call of the tool", str(call.get("function", call)["name"])


def unwritten_tools(tools: Sequence[Any], text: str) -> RowProblem | None:
    """The problem of definitions of tools that do not stand in a rendered text."""
    for tool in tools:
        name = tool.get("function", tool).get("name") if isinstance(tool, Mapping) else None
        if isinstance(name, str) and name not in text:
            return RowProblem(
                "tools",
                f"the chat template does not write the definition of {name}; use one that knows tools "
                "(chat_template=), or leave the column out by naming it in unused_columns",
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


def mark_of_templates(row: Mapping[str, Any]) -> str:
    """The first mark of well-known chat templates that the start of a canonical row spells; "" where there is none."""
    value = next(iter(row.values()), None)
    if isinstance(value, list):
        value = next((m["content"] for m in value if isinstance(m, Mapping) and m["role"] != "system"), None)
    match = _MARKS.search(value, 0, _START) if isinstance(value, str) else None
    return match.group() if match else ""


def special_tokens(tokenizer: Any) -> Special:
    """The marks of texts and turns: BOS, EOS and padding, and the special tokens that the chat template writes.

    The unknown token is none of them, which corpora spell as a word, nor are tokens that were added for the rows' sake.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {str(token) for token in added if getattr(token, "special", False)}
    special.update(map(str, getattr(tokenizer, "all_special_tokens", ())))
    written = _written(tokenizer)
    ends = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    marks = {token for token in special if token in ends or token in written} - {tokenizer.unk_token}
    longest_first = sorted((token for token in marks if len(token) > 2), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _written(tokenizer: Any) -> str:
    """What the chat template writes around messages: its own text, and a rendering, since it may put marks together."""
    template = tokenizer.chat_template
    if not isinstance(template, str):
        return ""
    try:
        return template + str(
            tokenizer.apply_chat_template(_PROBE, tokenize=False, add_generation_prompt=True)
        )
    except Exception:  # a template that refuses the probe still says its marks in its text
        return template
