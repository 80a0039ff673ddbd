"""The cells of a row by the role that their column plays: prompts, replies, conversations, texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aligntune_core.data.conversations import (
    ASSISTANT_MARK,
    Message,
    check_end,
    is_message,
    is_messages,
    parsed,
    read_dialogue,
    read_messages,
    read_text,
    refuse_printed,
    starts_dialogue,
    with_system,
)
from aligntune_core.data.formats.base import TOOLS, Row, RowProblem, Shape
from aligntune_core.data.options import below, read_options
from aligntune_core.data.texts import is_blank, shortened
from aligntune_core.wording import a_type

_TEXTS = ("text", "input", "context", "system")  # never message lists
_STARTS = "[{ \t\r\n"  # what a JSON text of messages may start with


def cell(row: Row, shape: Shape, role: str) -> tuple[Any, str]:
    """The value of a role, a JSON text of messages as the list that it means, and its column."""
    column = shape.slots.get(role, role)
    value = row.get(column)
    if role in _TEXTS or (type(value) is str and value[:1] not in _STARTS):
        return value, column
    value = parsed(value)
    refuse_printed(value, column)
    return value, column


def system(row: Row, shape: Shape) -> str | None:
    """The system message for a row whose conversation has none: its own, or that of the configuration."""
    if "system" not in shape.slots:
        return shape.system_prompt
    return read_text(*cell(row, shape, "system"), optional=True) or shape.system_prompt


def conversation(row: Row, shape: Shape) -> list[Message]:
    """The conversation of a row, with its system message."""
    messages = read_messages(*cell(row, shape, "messages"))
    return _with_own_system(messages, row, shape)


def prompt(row: Row, shape: Shape) -> list[Message]:
    """The prompt of a row as messages, which a reply may follow."""
    messages = _with_own_system(any_prompt(row, shape, None), row, shape)
    if messages[-1]["role"] == "assistant":
        raise RowProblem(shape.slots["prompt"], "the prompt ends with a message of the assistant")
    return messages


def _with_own_system(messages: list[Message], row: Row, shape: Shape) -> list[Message]:
    """The conversation with a system message; that of the row's column may not contradict its own."""
    if "system" in shape.slots and messages[0]["role"] == "system":
        text = read_text(*cell(row, shape, "system"), optional=True)
        if text and text.strip() != messages[0]["content"].strip():
            start = shortened(messages[0]["content"])
            raise RowProblem(
                shape.slots["system"], f"another system message than the conversation starts with: {start}"
            )
    return with_system(messages, system(row, shape))


def any_prompt(row: Row, shape: Shape, system_message: str | None) -> list[Message]:
    """A list of messages, a dialogue text, or one user message with its input, context and options; after the history.

    Raises:
        RowProblem: nothing is asked, or a prompt of messages has more of it beside it.
    """
    value, column = cell(row, shape, "prompt")
    if isinstance(value, Mapping) and is_message(value):
        value = [value]
    if is_messages(value) or (isinstance(value, list) and not value):
        messages = read_messages(value, column)
        _refuse_more(row, shape, messages[-1]["content"])
    elif shape.dialogue and starts_dialogue(value):
        text = read_text(value, column)
        messages = read_dialogue(text.rstrip().removesuffix(ASSISTANT_MARK), column)
        _refuse_more(row, shape, text)
    else:
        messages = [{"role": "user", "content": _question(value, column, row, shape)}]
    if "history" in shape.slots:
        messages = _after_history(messages, row, shape)
    return with_system(messages, system_message)


def _question(value: Any, column: str, row: Row, shape: Shape) -> str:
    """The text of a prompt, its input, its context and its options, a blank line between them."""
    text = ""
    if "input" in shape.slots:
        text = read_text(*cell(row, shape, "input"), optional=True)
    own = read_text(
        value, column, optional=bool(text)
    )  # of an instruction that is empty, the input is the prompt
    text = f"{own}\n\n{text}" if own and text else own or text
    if "context" in shape.slots:
        more = read_text(*cell(row, shape, "context"), optional=True)
        text = f"{text}\n\n{more}" if more else text
    if "options" in shape.slots:
        text = below(text, read_options(*cell(row, shape, "options")))
    return text


def _refuse_more(row: Row, shape: Shape, last: str) -> None:
    """Input, context and options belong to a text; messages have no place for what they do not hold already."""
    for role in ("input", "context"):
        more = read_text(*cell(row, shape, role), optional=True) if role in shape.slots else ""
        if more and more not in last:
            raise RowProblem(shape.slots[role], "the prompt is a list of messages, which has no place for it")
    if "options" not in shape.slots or shape.format.carries:
        return
    if below(last, read_options(*cell(row, shape, "options"))) != last:
        reason = "the prompt is a list of messages, which does not hold these options"
        raise RowProblem(shape.slots["options"], reason)


def _after_history(messages: list[Message], row: Row, shape: Shape) -> list[Message]:
    """The turns before a prompt, and the prompt."""
    value, column = row.get(shape.slots["history"]), shape.slots["history"]
    if is_blank(value):
        return messages
    earlier = read_messages(value, column)
    if earlier[-1]["role"] != "assistant":
        raise RowProblem(column, f"ends with a message of the {earlier[-1]['role']}, not of the assistant")
    if messages[0]["role"] != "system":
        return earlier + messages
    if earlier[0]["role"] == "system":
        raise RowProblem(column, "has a system message, and so has the prompt")
    return [*messages[:1], *earlier, *messages[1:]]


def reply(value: Any, column: str) -> list[Message]:
    """A reply as messages that start with the assistant: a text, one message, or a list of them."""
    if isinstance(value, Mapping) and is_message(value):
        value = [value]
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
    return json.dumps([_definition(tool) for tool in value], ensure_ascii=False)


def _definition(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A definition as chat templates read it; ShareGPT's and OpenAI's old ones lack the wrapping."""
    return {"type": "function", "function": tool} if "name" in tool and "function" not in tool else tool
