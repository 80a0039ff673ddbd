"""The cells of a row by the role that their column plays: prompts, replies, conversations, texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aligntune_core.data.conversations import (
    ASSISTANT_MARK,
    Message,
    check_end,
    is_messages,
    parsed,
    read_dialogue,
    read_messages,
    read_text,
    shortened,
    starts_dialogue,
    with_system,
)
from aligntune_core.data.formats.base import TOOLS, Row, RowProblem, Shape
from aligntune_core.wording import a_type

_TEXTS = ("text", "input", "system")  # never message lists


def cell(row: Row, shape: Shape, role: str) -> tuple[Any, str]:
    """The value of a role, a JSON text of messages as the list that it means, and its column."""
    column = shape.slots.get(role, role)
    value = row.get(column)
    return (value if role in _TEXTS else parsed(value)), column


def system(row: Row, shape: Shape) -> str | None:
    """The system message for a row whose conversation has none: its own, or that of the configuration."""
    if "system" not in shape.slots:
        return shape.system_prompt
    return read_text(*cell(row, shape, "system"), optional=True) or shape.system_prompt


def conversation(row: Row, shape: Shape) -> list[Message]:
    """The conversation of a row, with its system message."""
    return with_system(read_messages(*cell(row, shape, "messages")), system(row, shape))


def prompt(row: Row, shape: Shape) -> list[Message]:
    """The prompt of a row as messages, which a reply may follow."""
    messages = any_prompt(row, shape, system(row, shape))
    if messages[-1]["role"] == "assistant":
        raise RowProblem(shape.slots["prompt"], "the prompt ends with a message of the assistant")
    return messages


def any_prompt(row: Row, shape: Shape, system_message: str | None) -> list[Message]:
    """A list of messages, a dialogue text, or one user message with its input."""
    value, column = cell(row, shape, "prompt")
    if is_messages(value) or (isinstance(value, list) and not value):
        messages = read_messages(value, column)
    elif shape.dialogue and starts_dialogue(value):
        text = read_text(value, column)
        messages = read_dialogue(text.rstrip().removesuffix(ASSISTANT_MARK), column)
    else:
        text = read_text(value, column)
        if "input" in shape.slots:
            more = read_text(*cell(row, shape, "input"), optional=True)
            text = f"{text}\n\n{more}" if more else text
        messages = [{"role": "user", "content": text}]
    return with_system(messages, system_message)


def reply(value: Any, column: str) -> list[Message]:
    """A reply as messages that start with the assistant."""
    if not is_messages(value) and not isinstance(value, list):
        return [{"role": "assistant", "content": read_text(value, column)}]
    messages = read_messages(value, column)
    if messages[0]["role"] != "assistant":
        raise RowProblem(column, f"starts with a message of the {messages[0]['role']}, not of the assistant")
    check_end(messages, column)
    return messages


def tools(row: Row, shape: Shape) -> str | None:
    """The definitions of tools of a row as JSON text; None where it has none."""
    column = shape.slots[TOOLS]
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RowProblem(column, f"is no JSON: {error}") from None
    if value in (None, "", [], {}) or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise RowProblem(
            column, f"{shortened(value)} is {a_type(value)}, a list of tool definitions was expected"
        )
    return json.dumps(value, ensure_ascii=False)
