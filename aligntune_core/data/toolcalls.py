"""Calls of tools as conversations write them, in the one form that chat templates read.

OpenAI keeps the arguments as a JSON text, older rows a single ``function_call``, ShareGPT a message whose text is JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.data.texts import is_blank, shortened
from aligntune_core.wording import a_type

Call = dict[str, Any]
"""``{"type": "function", "function": {"name": text, "arguments": dict}}``, with "id" where the row has one."""

_MARKS = re.compile(r"</?(?:tool_call|function_call|functioncall)>")
_ARGUMENTS = ("arguments", "parameters", "args")
_DECODER = json.JSONDecoder()


def read_calls(value: Any, which: str, column: str) -> list[Call]:
    """Calls given as a list, as a single dict, or as JSON text of either, also one call after the other.

    Args:
        value: what the message holds.
        which: the message, for problems: "message 2".
        column: its column.

    Raises:
        RowProblem: a call has no name, or its arguments are no object.
    """
    if isinstance(value, str):
        value = list(_decoded(value, which, column))
    items = [value] if isinstance(value, Mapping) else value
    if not isinstance(items, list | tuple):
        raise RowProblem(
            column, f"{which}: {shortened(value)} is {a_type(value)}, calls of tools were expected"
        )
    return [_call(item, which, column) for item in items]


def _decoded(text: str, which: str, column: str) -> Iterator[Any]:
    """The calls that a text writes down: JSON objects or lists of them, with white space or marks between."""
    text = _MARKS.sub("\n", text).strip()
    position = 0
    while position < len(text):
        try:
            item, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            raise RowProblem(
                column, f"{which} calls a tool, but {shortened(text)} is no JSON of its name and arguments"
            ) from None
        yield from item if isinstance(item, list) else [item]
        while text[position : position + 1] in (" ", "\n", "\t", "\r", ",", ";"):
            position += 1


def _call(item: Any, which: str, column: str) -> Call:
    if isinstance(item, str):  # a list of JSON texts
        calls = list(_decoded(item, which, column))
        item = calls[0] if len(calls) == 1 else item
    if not isinstance(item, Mapping):
        raise RowProblem(
            column, f"{which}: {shortened(item)} is {a_type(item)}, a call of a tool was expected"
        )
    inner = item.get("function")
    function = inner if isinstance(inner, Mapping) else item
    name = inner if isinstance(inner, str) else function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise RowProblem(column, f"{which} calls a tool without a name: {shortened(dict(item))}")
    key = next((key for key in _ARGUMENTS if not is_blank(function.get(key))), "arguments")
    arguments = _arguments(function.get(key), f"{which}: the call of {name}", column)
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"id": item["id"], **call} if isinstance(item.get("id"), str) and item["id"] else call


def _arguments(value: Any, which: str, column: str) -> dict[str, Any]:
    """A dict of arguments; those that a table fills up with None, as others of its calls have them, are left out."""
    if is_blank(value):
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowProblem(column, f"{which} has arguments that are no JSON: {shortened(value)}") from None
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
    if not isinstance(value, Mapping):
        raise RowProblem(column, f"{which} has arguments that are {a_type(value)}, not names with values")
    filled: dict[str, Any] = _without_fillers(value)
    return filled


def _without_fillers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_fillers(item) for key, item in value.items() if item is not None}
    return [_without_fillers(item) for item in value] if isinstance(value, list | tuple) else value


# --- what the chat template takes ------------------------------------------------------------------------------------

_PROBED = {"probe": "a b"}
_PROBE: list[dict[str, Any]] = [
    {"role": "user", "content": "One?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "probe", "arguments": _PROBED}}],
    },
]


def wants_texts(tokenizer: Any) -> bool:
    """Whether a chat template writes calls right only where their arguments are a JSON text, as DeepSeek's does.

    Given a dict, such a template fails, or prints it as Python does.
    """
    if tokenizer is None or not isinstance(tokenizer.chat_template, str):
        return False
    if "tool_calls" not in tokenizer.chat_template:
        return False
    as_dict = _rendered(tokenizer, _PROBE)
    return (not as_dict or str(_PROBED) in as_dict) and json.dumps(_PROBED) in _rendered(
        tokenizer, with_texts(_PROBE)
    )


def with_texts(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose calls have their arguments as JSON texts."""
    return [
        {**message, "tool_calls": [_with_text(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else dict(message)
        for message in messages
    ]


def _with_text(call: Mapping[str, Any]) -> Call:
    function = call["function"]
    text = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": text}}


def _rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """What the template makes of messages; "" where it refuses them."""
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False))
    except Exception:  # a template raises what it likes
        return ""
