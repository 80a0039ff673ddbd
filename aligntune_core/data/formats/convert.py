"""One row of any recognised format -> one canonical row.

Canonical rows hold conversations as message lists: ``prompt`` and ``completion`` (or ``messages``), ``prompt``,
``chosen`` and ``rejected``, or ``prompt`` alone. Plain text for language modelling stays ``text``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from aligntune_core.data.formats.messages import (
    ASSISTANT_MARK,
    Message,
    check_reply,
    is_messages,
    parsed,
    read_dialogue,
    read_messages,
    read_text,
    shortened,
    speaker,
    split_dialogues,
    starts_dialogue,
    with_system,
)
from aligntune_core.data.recognise.detect import Shape
from aligntune_core.data.rows import Broken, RowProblem

Row = Mapping[str, Any]
Converter = Callable[[Row], dict[str, Any]]
_TEXTS = ("text", "input", "system")  # never message lists


def converter(shape: Shape, system_prompt: str | None, whole_messages: bool) -> Converter:
    """A function from a row to its canonical form; it raises ``RowProblem`` for a row that cannot be used.

    Args:
        shape: what ``detect`` found.
        system_prompt: system message for conversations that have none.
        whole_messages: keep conversations whole in ``messages`` instead of splitting off the last reply.
    """
    makers: dict[str, Callable[[Row, Shape, str | None], dict[str, Any]]] = {
        "messages": _whole if whole_messages else _last_reply,
        "pair": _whole_pair if whole_messages else _pair,
        "text": _text,
        "preference": _preference,
        "dialogues": _dialogues if shape.dialogue else _implicit,
        "prompt": _prompt_only,
        "prompt_messages": _prompt_messages,
        "prompt_text": _prompt_text,
        "prompt_shared": _prompt_of_dialogues if shape.dialogue else _prompt_of_lists,
    }
    make = makers[shape.kind]

    def convert(row: Any) -> dict[str, Any]:
        if isinstance(row, Broken):
            raise RowProblem("", row.reason)
        return make(row, shape, system_prompt)

    return convert


def _value(row: Row, shape: Shape, role: str) -> tuple[Any, str]:
    column = shape.slots.get(role, role)
    value = row.get(column)
    return (value if role in _TEXTS else parsed(value)), column


def _conversation(row: Row, shape: Shape, system_prompt: str | None) -> list[Message]:
    value, column = _value(row, shape, "messages")
    messages = read_messages(value, column)
    return with_system(messages, _system(row, shape) or system_prompt)


def _system(row: Row, shape: Shape) -> str:
    if "system" not in shape.slots:
        return ""
    value, column = _value(row, shape, "system")
    return read_text(value, column, optional=True)


def _prompt(row: Row, shape: Shape, system_prompt: str | None) -> list[Message]:
    """The prompt of a row as messages, which a reply may follow."""
    messages = _any_prompt(row, shape, system_prompt)
    if messages[-1]["role"] == "assistant":
        raise RowProblem(shape.slots["prompt"], "the prompt ends with a message of the assistant")
    return messages


def _any_prompt(row: Row, shape: Shape, system_prompt: str | None) -> list[Message]:
    """A list of messages, a dialogue text, or one user message with its input."""
    value, column = _value(row, shape, "prompt")
    if is_messages(value) or (isinstance(value, list) and not value):
        messages = read_messages(value, column)
    elif shape.dialogue and starts_dialogue(value):
        text = read_text(value, column)
        messages = read_dialogue(text.rstrip().removesuffix(ASSISTANT_MARK), column)
    else:
        text = read_text(value, column)
        if "input" in shape.slots:
            extra, extra_column = _value(row, shape, "input")
            more = read_text(extra, extra_column, optional=True)
            text = f"{text}\n\n{more}" if more else text
        messages = [{"role": "user", "content": text}]
    return with_system(messages, _system(row, shape) or system_prompt)


def _reply(value: Any, column: str) -> list[Message]:
    """A reply as messages that start with the assistant."""
    if is_messages(value) or isinstance(value, list):
        messages = read_messages(value, column)
        if messages[0]["role"] != "assistant":
            raise RowProblem(
                column, f"starts with a message of the {messages[0]['role']}, not of the assistant"
            )
        if messages[-1]["role"] != "assistant":
            raise RowProblem(
                column, f"the last message is from the {messages[-1]['role']}, not from the assistant"
            )
        return messages
    return [{"role": "assistant", "content": read_text(value, column)}]


def _whole(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    messages = _conversation(row, shape, system_prompt)
    check_reply(messages, shape.slots["messages"])
    return {"messages": messages}


def _last_reply(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    messages = _conversation(row, shape, system_prompt)
    check_reply(messages, shape.slots["messages"])
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _pair(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    return {
        "prompt": _prompt(row, shape, system_prompt),
        "completion": _reply(*_value(row, shape, "completion")),
    }


def _whole_pair(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    pair = _pair(row, shape, system_prompt)
    return {"messages": pair["prompt"] + pair["completion"]}


def _text(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    return {"text": read_text(*_value(row, shape, "text"))}


def _different(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> dict[str, Any]:
    if chosen == rejected:
        raise RowProblem("rejected", "chosen and rejected are equal")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _preference(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    (chosen, chosen_column), (rejected, rejected_column) = _both(row, shape)
    whole, bare = None, _without_system(shape)
    if _starts_with_user(chosen) and _starts_with_user(rejected):
        whole = _implicit(row, bare, None)  # the lists repeat the prompt, as UltraFeedback's do
    elif shape.dialogue and (starts_dialogue(chosen) or starts_dialogue(rejected)):
        whole = _dialogues(row, bare, None)
    if whole is not None:
        prompt = _with_given(whole["prompt"], row, bare)
        return {**whole, "prompt": with_system(prompt, _system(row, shape) or system_prompt)}
    prompt = _prompt(row, shape, system_prompt)
    strip = shape.dialogue
    sides = []
    for value, column in ((chosen, chosen_column), (rejected, rejected_column)):
        if strip and isinstance(value, str):
            sides.append(read_dialogue(read_text(value, column), column, first="assistant"))
        else:
            sides.append(_reply(value, column))
    return _different(prompt, sides[0], sides[1])


def _without_system(shape: Shape) -> Shape:
    """The shape without its column of system messages, which only go where a conversation has none."""
    return replace(shape, slots={role: column for role, column in shape.slots.items() if role != "system"})


def _with_given(shared: list[Message], row: Row, shape: Shape) -> list[Message]:
    """The prompt of a row whose ``chosen`` and ``rejected`` are whole conversations, and that has a prompt besides.

    Args:
        shared: the prompt that both conversations share. It may repeat the given one, whole or its end, or go on
            after it; the messages that only the given one has are kept.
    """
    value, column = _value(row, shape, "prompt")
    if value is None or value == "" or value == []:
        return shared
    given = _any_prompt(row, shape, None)
    start, turns = _apart(given)
    own_start, own = _apart(shared)
    if start and own_start and not _same(start, own_start):
        raise RowProblem(column, "its system message is not the one of chosen and rejected")
    start = own_start or start
    if _within(turns, own):
        return start + own
    if _same(turns[len(turns) - len(own) :], own):
        return start + turns
    if turns[-1]["role"] == "assistant" and own:
        return start + turns + own
    shown = shortened(shared[-1]["content"])
    raise RowProblem(column, f"contradicts chosen and rejected, which share the prompt {shown}")


def _apart(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """The system message, and the turns."""
    count = int(messages[0]["role"] == "system")
    return messages[:count], messages[count:]


def _same(some: list[Message], others: list[Message]) -> bool:
    """Whether messages are equal but for white space around them."""
    return [(m["role"], m["content"].strip()) for m in some] == [
        (m["role"], m["content"].strip()) for m in others
    ]


def _within(part: list[Message], messages: list[Message]) -> bool:
    """Whether ``part`` is a run of ``messages``; no turns at all are."""
    return any(_same(part, messages[i : i + len(part)]) for i in range(len(messages) - len(part) + 1))


def _starts_with_user(value: Any) -> bool:
    if not is_messages(value):
        return False
    name = speaker(value[0])
    return isinstance(name, str) and name.lower() in ("user", "human", "system")


def _both(row: Row, shape: Shape) -> tuple[tuple[Any, str], tuple[Any, str]]:
    return _value(row, shape, "chosen"), _value(row, shape, "rejected")


def _implicit(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    """Two conversations that share their beginning: that is the prompt."""
    (chosen, chosen_column), (rejected, rejected_column) = _both(row, shape)
    first, second = read_messages(chosen, chosen_column), read_messages(rejected, rejected_column)
    check_reply(first, chosen_column)
    check_reply(second, rejected_column)
    shared = _shared(first, second)
    if shared == 0:
        raise RowProblem(chosen_column, "chosen and rejected share no prompt: their first messages differ")
    for messages, column in ((first, chosen_column), (second, rejected_column)):
        if messages[shared]["role"] != "assistant":
            raise RowProblem(
                column, f"chosen and rejected part at a message of the {messages[shared]['role']}"
            )
    prompt = with_system(first[:shared], _system(row, shape) or system_prompt)
    return _different(prompt, first[shared:], second[shared:])


def _shared(first: list[Message], second: list[Message]) -> int:
    """How many leading messages two conversations share, the last of either left out: it is the reply.

    Where one goes on after the other has ended, both replies start with the last message that they share.
    """
    shared = 0
    for one, other in zip(first[:-1], second[:-1], strict=False):
        if one != other:
            break
        shared += 1
    return shared


def _dialogues(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    """hh-rlhf: two whole dialogues as texts."""
    (chosen, chosen_column), (rejected, rejected_column) = _both(row, shape)
    first, second = read_text(chosen, chosen_column), read_text(rejected, rejected_column)
    if first.strip() == second.strip():
        raise RowProblem(rejected_column, "chosen and rejected are equal")
    cut, prompt = _dialogue_prompt(first, second, chosen_column)
    sides = []
    for text, column in ((first, chosen_column), (second, rejected_column)):
        messages = read_dialogue(text[cut:], column, first="assistant")
        if messages[-1]["role"] != "assistant":
            raise RowProblem(column, "the dialogue ends with a turn of the human")
        sides.append(messages)
    return _different(with_system(prompt, _system(row, shape) or system_prompt), sides[0], sides[1])


def _dialogue_prompt(first: str, second: str, column: str) -> tuple[int, list[Message]]:
    """Where the prompt of two dialogues ends, and its messages."""
    cut = split_dialogues(first, second)
    # It may end with a turn of the assistant, where both replies hold the mark once more after the same words.
    return cut, read_dialogue(first[:cut].removesuffix(ASSISTANT_MARK), column)


def _prompt_of_dialogues(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    """hh-rlhf for an online algorithm: the prompt alone counts, so the replies may be equal or empty."""
    (chosen, chosen_column), (rejected, rejected_column) = _both(row, shape)
    first, second = read_text(chosen, chosen_column), read_text(rejected, rejected_column)
    _, prompt = _dialogue_prompt(first, second, chosen_column)
    return {"prompt": with_system(prompt, _system(row, shape) or system_prompt)}


def _prompt_of_lists(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    return {"prompt": _implicit(row, shape, system_prompt)["prompt"]}


def _prompt_only(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    return {"prompt": _prompt(row, shape, system_prompt)}


def _prompt_messages(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    """Whole conversations for an online algorithm: the prompt is what comes before the last reply."""
    messages = _conversation(row, shape, system_prompt)
    column = shape.slots["messages"]
    if messages[-1]["role"] == "assistant":
        check_reply(messages, column)
        messages = messages[:-1]
    return {"prompt": messages}


def _prompt_text(row: Row, shape: Shape, system_prompt: str | None) -> dict[str, Any]:
    text = read_text(*_value(row, shape, "text"))
    return {"prompt": with_system([{"role": "user", "content": text}], _system(row, shape) or system_prompt)}
