"""Whole conversations in one column: OpenAI's and ShareGPT's lists of messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aligntune_core.data import cells
from aligntune_core.data.conversations import Message, check_reply, is_messages, read_messages
from aligntune_core.data.formats.base import (
    BESIDE,
    CanonicalRow,
    Format,
    Roles,
    Row,
    RowProblem,
    Shape,
    Target,
    Wishes,
)

PAIR = ("prompt", "completion")
WHOLE = ("messages",)


def recognise(shape: Shape) -> str:
    """ "sharegpt" for messages with from and value."""
    value: Any = shape.value("messages")
    sharegpt = is_messages(value) and value[0].get("role") is None and value[0].get("from") is not None
    return "sharegpt" if sharegpt else "messages"


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """The conversation as it is, or its last reply as the completion of what comes before."""
    messages = cells.conversation(row, shape)
    check_reply(messages, shape.slots["messages"])
    if shape.target.marked:
        messages = [_marked(message) for message in messages]
    if shape.target.columns == WHOLE:
        yield {"messages": messages}
    else:
        yield {"prompt": messages[:-1], "completion": messages[-1:]}


def loss(shape: Shape, wishes: Wishes) -> Target:
    """On every turn of the assistant where the template marks them, else on the last one."""
    if wishes.completion_only is False:
        return Target("all", WHOLE, "The loss is on every token (completion_only_loss=False).")
    if wishes.train_on == "last":
        return Target("completion", PAIR, "The loss is on the last turn of the assistant (train_on=last).")
    column = shape.slots["messages"]
    marked = wishes.train_on == "marked"
    if marked and wishes.tells_turns:
        sentence = "The loss is on the turns of the assistant that the rows mark (train_on=marked)."
        return Target("assistant", WHOLE, sentence, marked=True)
    if not wishes.streamed and not any(_has_turns(row.get(column), column) for row in wishes.rows()):
        return Target("completion", PAIR, "The loss is on the reply only.", marked=marked)
    if wishes.tells_turns:
        return Target("assistant", WHOLE, "The loss is on every turn of the assistant.")
    sentence = (
        "The loss is on the last turn of the assistant only: the chat template does not show where its earlier turns "
        "start and end. One with generation marks does (chat_template=); train_on=last says that it is meant."
    )
    return Target("completion", PAIR, sentence, marked=marked, warning=True)


def _marked(message: Message) -> Message:
    """A message that is learnt only where the row says so."""
    return {"weight": 0, **message} if message["role"] == "assistant" else message


def _has_turns(value: Any, column: str) -> bool:
    """Whether the assistant speaks more than once."""
    try:
        roles = [message["role"] for message in read_messages(value, column)]
        return roles.count("assistant") > 1
    except RowProblem:
        return False  # a bad row: named when rows are checked


FORMAT = Format(
    name="messages",
    roles=(Roles(("messages",), BESIDE),),
    recognise=recognise,
    rows=rows,
    columns=PAIR,
    loss=loss,
    wants="messages",
)
