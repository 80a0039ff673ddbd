"""Conversations of one row, read strictly: every problem names the column and says what is there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.data import messagekeys
from aligntune_core.data.formats.base import Row, RowProblem, Shape
from aligntune_core.data.pairs import unpaired
from aligntune_core.data.texts import is_blank
from aligntune_core.data.texts import read_text as read_text
from aligntune_core.data.texts import shortened as shortened
from aligntune_core.data.toolcalls import read_calls
from aligntune_core.wording import a_type, did_you_mean, listed

Message = dict[str, Any]
"""A canonical message: role and content, and only where the row has them "tool_calls", "tool_call_id", "name",
"reasoning_content", "thinking", and "weight" where it is 0."""

ROLE_NAMES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "tool"),
    **dict.fromkeys(("tool_response", "tool_result", "function_response", "function_result"), "tool"),
}
# Names of the assistant where its text is a call of a tool.
CALLERS = frozenset(("function_call", "function-call", "function_calls", "tool_call", "tool_calls"))
_TURN = re.compile(r"\n\n(Human|Assistant):")
ASSISTANT_MARK = "\n\nAssistant:"
_PRINTED = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value)': ")
_CELLS = frozenset(("messages", "prompt", "completion", "chosen", "rejected", "history"))
_OPENERS = "[{ \t\r\n"  # what a JSON text of messages may start with


def is_messages(value: Any) -> bool:
    """Whether a value looks like a list of messages rather than text."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def parsed(value: Any) -> Any:
    """A JSON text of messages as the list, or the one message, that it means; anything else as it is.

    Only a text that is a list of dicts with the keys of messages counts: others merely start with a bracket. Lists that
    Python has printed, as pandas writes them into CSV, are read like JSON.
    """
    if not isinstance(value, str):
        return value
    start = value.lstrip()[:1]
    if start == "{" and ("role" in value or "from" in value):
        item = _decoded(value)
        alone = isinstance(item, dict) and is_message(item) and len(item) == 2
        return item if alone and str(speaker(item)).lower() in ROLE_NAMES else value
    if start != "[":
        return value
    items = _decoded(value)
    dicts = isinstance(items, list) and all(isinstance(item, dict) for item in items)
    return items if dicts and any(map(is_message, items)) else value


def _decoded(text: str) -> Any:
    """A JSON text, or one that Python printed, as the value that it means; None where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if not _PRINTED.match(text):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def refuse_printed(value: Any, column: str) -> None:
    """Raise for a list of messages that was printed rather than saved, which would be learnt as a text."""
    if isinstance(value, str) and _PRINTED.match(value) and ("'role': " in value or "'from': " in value):
        raise RowProblem(
            column,
            f"{shortened(value)} is a list of messages as it is printed, which cannot be read; save it as JSON",
        )


def is_message(item: Mapping[str, Any]) -> bool:
    """Whether a dict has the keys of a message: OpenAI's, ShareGPT's, or a mixture."""
    return ("role" in item or "from" in item) and ("content" in item or "value" in item)


def as_row(value: Any) -> Any:
    """A list of messages that stands where a row should, as a row; anything else as it is."""
    return {"messages": value} if is_messages(value) and is_message(value[0]) else value


def speaker(message: Mapping[str, Any]) -> Any:
    """The name of who speaks. A table of both kinds of messages holds both keys, the unused one as None."""
    role = message.get("role")
    return message.get("from") if role is None else role


def message_keys(row: Row, shape: Shape) -> list[str]:
    """The keys of a row's messages that have a value, that nobody reads, and that are not known to be harmless."""
    keys: dict[str, None] = {}
    for role, column in shape.slots.items():
        value = row.get(column)
        if role not in _CELLS or value is None or (type(value) is str and value[:1] not in _OPENERS):
            continue
        value = parsed(value)
        items = [value] if isinstance(value, Mapping) else value
        for item in items if isinstance(items, list | tuple) else ():
            if isinstance(item, Mapping) and len(item) > 2:
                keys.update(dict.fromkeys(messagekeys.unread(item)))
    return list(keys)


def read_messages(value: Any, column: str) -> list[Message]:
    """A conversation: messages of OpenAI's keys (role, content) or ShareGPT's (from, value), or pairs of texts.

    A JSON text of them is read too. Calls of tools and their results come out in OpenAI's form.
    """
    if value is None:
        raise RowProblem(column, "missing (None)")
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value = _read_json(value, column)
    if isinstance(value, Mapping):
        value = _unwrapped(value, column)
    if not isinstance(value, list | tuple):
        raise RowProblem(column, f"{shortened(value)} is {a_type(value)}, a list of messages was expected")
    if not value:
        raise RowProblem(column, "empty (no messages)")
    if type(value[0]) is not dict or speaker(value[0]) is None:
        value = unpaired(value, column)
    messages: list[Message] = []
    for number, item in enumerate(value):
        message = _plain_message(item) or _read_message(item, f"message {number}", column)
        role = message["role"]
        if role == "system":
            if not message["content"]:
                continue
            if messages:
                raise RowProblem(column, f"message {number}: a system message after the first message")
        if "tool_calls" in message and messages and _goes_on(messages[-1], message, item):
            _join(messages[-1], message)
        else:
            messages.append(message)
    if not messages:
        raise RowProblem(column, "empty (no messages)")
    return messages


def _read_json(text: str, column: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        printed = _decoded(text)
        if printed is None:
            kind = "list" if text.lstrip().startswith("[") else "object"
            reason = getattr(error, "msg", "nested too deeply")
            raise RowProblem(column, f"looks like a JSON {kind} but is not valid: {reason}") from None
        return printed


def _unwrapped(value: Mapping[str, Any], column: str) -> Any:
    """The messages of an object: the only thing in it, itself one, or two lists as tables of Arrow keep them."""
    inner = next(
        (value[key] for key in ("messages", "conversations") if isinstance(value.get(key), list)), None
    )
    if inner is not None:
        others = [key for key in value if value[key] is not inner and not is_blank(value[key])]
        if others:
            raise RowProblem(
                column, f"an object of messages and {listed(others)}; give each a column of its own"
            )
        return inner
    lists = {key: items for key, items in value.items() if isinstance(items, list | tuple)}
    if is_message(lists):
        if len({len(items) for items in lists.values()}) > 1:
            raise RowProblem(column, f"lists of different lengths: {', '.join(lists)}")
        return [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]
    return [value] if is_message(value) else value


def _plain_message(item: Any) -> Message | None:
    """A message of a role and a plain text, as most are; None for any other, which ``_read_message`` judges."""
    if type(item) is not dict or len(item) != 2:
        return None
    name, content = item.get("role"), item.get("content")
    if name is None:
        name, content = item.get("from"), item.get("value")
    if type(name) is not str or type(content) is not str or not content.strip():
        return None
    role = ROLE_NAMES.get(name)
    if role is None:
        return None
    if not content.isascii():
        try:
            content.encode("utf-8")
        except UnicodeEncodeError:
            return None
    return {"role": role, "content": content}


def _read_message(message: Any, which: str, column: str) -> Message:
    if not isinstance(message, Mapping):
        raise RowProblem(column, f"{which} is {a_type(message)}, not a dict with role and content")
    name = speaker(message)
    if name is None:
        raise RowProblem(column, f"{which} has no role (its keys: {listed(message)})")
    lowered = str(name).strip().lower()
    calls = lowered in CALLERS
    role = "assistant" if calls else ROLE_NAMES.get(lowered)
    if role is None:
        hint = did_you_mean(str(name), ROLE_NAMES)
        raise RowProblem(
            column,
            f"{which} has the unknown role {shortened(name)}.{hint} Known: {listed([*ROLE_NAMES, *sorted(CALLERS)])}",
        )
    content = next(
        (message[key] for key in ("content", "value", "text") if message.get(key) is not None), None
    )
    beside = messagekeys.read(message, role, which, column)
    if calls:
        made = [] if is_blank(content) else read_calls(content, which, column)
        beside["tool_calls"] = [*beside.get("tool_calls", ()), *made]
        if not beside["tool_calls"]:
            raise RowProblem(column, f"{which} ({name}) calls no tool")
        return {"role": role, "content": "", **beside}
    if role == "tool" and not isinstance(content, str) and not _is_parts(content) and content is not None:
        content = json.dumps(
            content, ensure_ascii=False, default=str
        )  # what a tool gave back may be any value
    if isinstance(content, list | tuple):
        content, more = messagekeys.read_parts(content, role, which, column)
        beside = {**beside, **more}
    optional = role == "system" or "tool_calls" in beside or (role == "tool" and content is not None)
    try:
        return {"role": role, "content": read_text(content, column, optional=optional), **beside}
    except RowProblem as problem:
        raise RowProblem(column, f"{which} ({role}): {problem.reason}") from None


def _is_parts(content: Any) -> bool:
    return isinstance(content, list | tuple) and all(isinstance(p, Mapping) and "type" in p for p in content)


def _goes_on(before: Message, message: Message, item: Any) -> bool:
    """Whether a message that only calls tools belongs to the turn before it, as ShareGPT's parallel calls do."""
    same_loss = before.get("weight", 1) == message.get("weight", 1)
    return before["role"] == "assistant" and same_loss and str(speaker(item)).lower() in CALLERS


def _join(before: Message, message: Message) -> None:
    before["tool_calls"] = [*before.get("tool_calls", ()), *message["tool_calls"]]
    for key, value in message.items():
        if key in ("reasoning_content", "thinking"):
            before[key] = "\n\n".join(filter(None, (before.get(key), value)))


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
