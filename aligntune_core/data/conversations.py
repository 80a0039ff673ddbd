"""Texts and conversations of one row, read strictly: every problem names the column and says what was found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.wording import a_type, did_you_mean, listed

Message = dict[str, str]

ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}
_TURN = re.compile(r"\n\n(Human|Assistant):")
ASSISTANT_MARK = "\n\nAssistant:"


def shortened(value: Any, length: int = 40) -> str:
    """A value for a message, cut to ``length``."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def read_text(value: Any, column: str, *, optional: bool = False) -> str:
    """A non-empty text; with ``optional``, None and empty texts give ""."""
    if value is None or value == "":
        if optional:
            return ""
        raise RowProblem(column, "missing (None)" if value is None else "empty")
    if not isinstance(value, str):
        raise RowProblem(column, f"{shortened(value)} is {a_type(value)}, text was expected")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowProblem(
                column, f"character {error.start + 1} is half of a surrogate pair, no text"
            ) from None
    if value.strip():
        return value
    if optional:
        return ""
    raise RowProblem(column, "empty (only white space)")


def is_messages(value: Any) -> bool:
    """Whether a value looks like a list of messages rather than text."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def parsed(value: Any) -> Any:
    """A JSON text of messages as the list that it means; anything else as it is.

    Only a text that is a list of dicts with the keys of messages counts: others merely start with a bracket.
    """
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    dicts = isinstance(found, list) and all(isinstance(item, dict) for item in found)
    return found if dicts and any(map(is_message, found)) else value


def is_message(item: Mapping[str, Any]) -> bool:
    """Whether a dict has the keys of a message, OpenAI's or ShareGPT's."""
    return {"role", "content"} <= item.keys() or {"from", "value"} <= item.keys()


def speaker(message: Mapping[str, Any]) -> Any:
    """The name of who speaks. A table of both kinds of messages holds both keys, the unused one as None."""
    role = message.get("role")
    return message.get("from") if role is None else role


def read_messages(value: Any, column: str) -> list[Message]:
    """A conversation: OpenAI's role/content or ShareGPT's from/value messages, a JSON text of them included."""
    if value is None:
        raise RowProblem(column, "missing (None)")
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise RowProblem(column, f"looks like a JSON list but is not valid: {error.msg}") from None
    if not isinstance(value, list | tuple):
        raise RowProblem(column, f"{shortened(value)} is {a_type(value)}, a list of messages was expected")
    if not value:
        raise RowProblem(column, "empty (no messages)")
    found: list[Message] = []
    for number, message in enumerate(value):
        role, content = _read_message(message, f"message {number}", column)
        if role == "system" and not content:
            continue
        if role == "system" and found:
            raise RowProblem(column, f"message {number}: a system message after the first message")
        found.append({"role": role, "content": content})
    if not found:
        raise RowProblem(column, "empty (no messages)")
    return found


def _read_message(message: Any, which: str, column: str) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise RowProblem(column, f"{which} is {a_type(message)}, not a dict with role and content")
    name = speaker(message)
    if name is None:
        raise RowProblem(column, f"{which} has no role (its keys: {listed(message)})")
    role = ROLE_NAMES.get(str(name).lower())
    if role is None:
        tools = name in ("tool", "function", "observation")
        hint = (
            " Conversations with tools are not supported." if tools else did_you_mean(str(name), ROLE_NAMES)
        )
        raise RowProblem(
            column, f"{which} has the unknown role {shortened(name)}.{hint} Known: {listed(ROLE_NAMES)}"
        )
    if message.get("tool_calls"):
        raise RowProblem(column, f"{which} calls tools, which is not supported")
    content = message.get("content")
    if content is None:
        content = message.get("value")
    if isinstance(content, list | tuple):
        content = _joined_parts(content, which, column)
    try:
        return role, read_text(content, column, optional=role == "system")
    except RowProblem as problem:
        raise RowProblem(column, f"{which} ({role}): {problem.reason}") from None


def _joined_parts(parts: Sequence[Any], which: str, column: str) -> str:
    """The text of content given as parts; anything but text is refused."""
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        if kind != "text" or not isinstance(part.get("text"), str):
            raise RowProblem(column, f"{which} holds a part of type {kind!r}; only text is supported")
    return "".join(part["text"] for part in parts)


def check_end(messages: Sequence[Message], column: str) -> None:
    """What is to be learnt ends with the assistant."""
    role = messages[-1]["role"]
    if role != "assistant":
        raise RowProblem(column, f"the last message is from the {role}, not from the assistant")


def check_reply(messages: Sequence[Message], column: str) -> None:
    """A conversation to learn from ends with the assistant and says something before."""
    check_end(messages, column)
    if len(messages) == 1:
        raise RowProblem(column, "a lone reply: no message comes before it")


def with_system(messages: list[Message], system: str | None) -> list[Message]:
    """The conversation with a system message in front, unless it has one."""
    if not system or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


# --- dialogues written as one text ("\n\nHuman: ...\n\nAssistant: ...") ----------------------------------------------


def is_dialogue(text: Any) -> bool:
    """Whether a text is a dialogue with Human and Assistant marks."""
    return (
        isinstance(text, str)
        and ASSISTANT_MARK in text
        and ("\n\nHuman:" in text or text.startswith("Human:"))
    )


def starts_dialogue(text: Any) -> bool:
    """Whether a text starts with a turn of the human: a whole dialogue, or the beginning of one."""
    return isinstance(text, str) and text.startswith(("\n\nHuman:", "Human:"))


def split_dialogues(chosen: str, rejected: str) -> int:
    """Where the prompt of two dialogues ends: after the last "\\n\\nAssistant:" until which they are equal.

    What they share beyond it is not the prompt: replies often begin with the same words.
    """
    cut = 0
    for mark in re.finditer(ASSISTANT_MARK, chosen):
        if not rejected.startswith(chosen[: mark.end()]):
            break
        cut = mark.end()
    if not cut:
        raise RowProblem("chosen", 'the two dialogues share no "\\n\\nAssistant:" to end the prompt at')
    return cut


def read_dialogue(text: str, column: str, *, first: str = "") -> list[Message]:
    """A dialogue text as messages; neighbours of one speaker are joined.

    ``first`` is the role that the text starts with, where its mark was cut off.
    """
    if not first and text.startswith("Human:"):
        text = "\n\n" + text
    pieces = _TURN.split(text)
    if pieces[0].strip() and not first:
        raise RowProblem(
            column, f"the dialogue has text before its first turn: {shortened(pieces[0].strip())}"
        )
    turns = [(first, pieces[0])] if first else []
    turns += [
        ("user" if who == "Human" else "assistant", said)
        for who, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    messages: list[Message] = []
    for number, (role, said) in enumerate(turns):
        content = said.strip()
        if not content:
            raise RowProblem(column, f"turn {number} ({role}) is empty")
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n\n" + content
        else:
            messages.append({"role": role, "content": content})
    return messages
