"""Prompts alone, for algorithms that write the completions: from a column of their own, or those of other formats."""

from __future__ import annotations

from collections.abc import Iterator

from aligntune_core.data import cells
from aligntune_core.data.conversations import Message, check_reply, is_messages, read_text, with_system
from aligntune_core.data.formats import messages, preference
from aligntune_core.data.formats.base import (
    BESIDE,
    CONTEXT,
    TOOLS,
    CanonicalRow,
    Format,
    Roles,
    Row,
    Shape,
    Target,
    Wishes,
)


def recognise(shape: Shape) -> str:
    """ "prompt only", or whose prompts they are."""
    if "prompt" in shape.slots or "text" in shape.slots:
        return "prompt only"
    return messages.recognise(shape) if "messages" in shape.slots else preference.recognise(shape)


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """The prompt as messages; other columns go along for the rewards."""
    yield {"prompt": _prompt(row, shape)}


def loss(shape: Shape, wishes: Wishes) -> Target:
    """None on the rows: completions are generated."""
    return Target("none", ("prompt",), text_prompts=_are_texts(shape, wishes))


def _prompt(row: Row, shape: Shape) -> list[Message]:
    if "prompt" in shape.slots:
        return cells.prompt(row, shape)
    if "messages" in shape.slots:
        return _before_reply(row, shape)
    if "text" in shape.slots:
        text = read_text(*cells.cell(row, shape, "text"))
        return with_system([{"role": "user", "content": text}], cells.system(row, shape))
    if not shape.dialogue:
        shared: list[Message] = preference.implicit(row, shape)["prompt"]
        return shared
    # hh-rlhf: the prompt alone counts, so the replies may be equal or empty.
    (chosen, column), (rejected, rejected_column) = preference.sides(row, shape)
    first, second = read_text(chosen, column), read_text(rejected, rejected_column)
    _, dialogue = preference.dialogue_prompt(first, second, column)
    return with_system(dialogue, cells.system(row, shape))


def _before_reply(row: Row, shape: Shape) -> list[Message]:
    """Of a whole conversation what comes before the last reply."""
    conversation = cells.conversation(row, shape)
    if conversation[-1]["role"] != "assistant":
        return conversation
    check_reply(conversation, shape.slots["messages"])
    return conversation[:-1]


def _are_texts(shape: Shape, wishes: Wishes) -> bool:
    if "prompt" not in shape.slots:
        return "text" in shape.slots
    values = [row.get(shape.slots["prompt"]) for row in wishes.sample]
    texts = [value for value in values if isinstance(value, str) and not is_messages(value)]
    return bool(texts) and not (shape.dialogue and any("Human:" in text for text in texts))


# Libraries that generate render prompts themselves, with no row's own tools: such a column is refused as unused.
_BESIDE = tuple(role for role in BESIDE if role != TOOLS)

FORMAT = Format(
    name="prompts",
    roles=(
        Roles(("prompt",), tuple(role for role in CONTEXT if role != TOOLS)),
        Roles(("messages",), _BESIDE),
        Roles(preference.SIDES, _BESIDE),
        Roles(("text",), _BESIDE),
    ),
    recognise=recognise,
    rows=rows,
    columns=("prompt",),
    loss=loss,
    wants="prompt; or question, instruction, messages",
    carries=True,
)
