"""A better and a worse answer to each prompt: apart, as two whole conversations, or as two dialogue texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from aligntune_core.data import cells
from aligntune_core.data.columns import shown
from aligntune_core.data.conversations import (
    ASSISTANT_MARK,
    Message,
    check_reply,
    is_messages,
    read_dialogue,
    read_messages,
    read_text,
    shortened,
    speaker,
    split_dialogues,
    starts_dialogue,
    with_system,
)
from aligntune_core.data.formats.base import (
    BESIDE,
    CONTEXT,
    CanonicalRow,
    Format,
    Roles,
    Row,
    RowProblem,
    Shape,
)
from aligntune_core.errors import DataError

SIDES = ("chosen", "rejected")
Cell = tuple[Any, str]
Conversation = tuple[list[Message], str]


def recognise(shape: Shape) -> str:
    """Which of its kinds: hh-rlhf's dialogues, UltraFeedback's lists, or a prompt beside two answers.

    Raises:
        DataError: two plain texts, which do not say where their prompt ends.
    """
    if shape.dialogue:
        return "hh-rlhf"
    if "messages" in shape.slots:
        return "messages/chosen/rejected" if "chosen" in shape.slots else "messages/rejected"
    chosen = shape.value("chosen")
    if "prompt" not in shape.slots and isinstance(chosen, str):
        raise DataError(
            f'{shape.origin}: "chosen" and "rejected" are plain texts without a prompt. {shape.algorithm} needs a '
            'column "prompt" beside them, or whole dialogues ("\\n\\nHuman: ...\\n\\nAssistant: ..."). Columns: '
            f"{shown(shape.columns)}."
        )
    if "completion" in shape.slots:
        return "prompt/completion/rejected"
    if not is_messages(chosen):
        return "prompt/chosen/rejected"
    if "prompt" not in shape.slots:
        return "chosen/rejected (messages)"
    return "ultrafeedback" if isinstance(shape.value("prompt"), str) else "prompt/chosen/rejected (messages)"


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """Prompt, chosen and rejected as messages."""
    if "messages" in shape.slots:
        yield _of_conversation(row, shape) if "chosen" in shape.slots else _of_reply(row, shape)
    elif "completion" in shape.slots:
        slots = {role: column for role, column in shape.slots.items() if role != "completion"}
        yield _beside_prompt(row, replace(shape, slots={**slots, "chosen": shape.slots["completion"]}))
    elif "prompt" in shape.slots:
        yield _beside_prompt(row, shape)
    else:
        yield dialogues(row, shape) if shape.dialogue else implicit(row, shape)


def implicit(row: Row, shape: Shape) -> CanonicalRow:
    """Two conversations that share their beginning: that is the prompt."""
    both = [(read_messages(value, column), column) for value, column in sides(row, shape)]
    return _parted(both[0], both[1], cells.system(row, shape))


def _parted(first_cell: Conversation, second_cell: Conversation, system: str | None) -> CanonicalRow:
    """Two whole conversations, each with its column, as the prompt that they share and their replies."""
    both = (first_cell, second_cell)
    (first, first_column), (second, _) = both
    for messages, column in both:
        check_reply(messages, column)
    shared = _shared(first, second)
    if shared == 0:
        raise RowProblem(first_column, "chosen and rejected share no prompt: their first messages differ")
    for messages, column in both:
        role = messages[shared]["role"]
        if role != "assistant":
            raise RowProblem(column, f"chosen and rejected part at a message of the {role}")
    return _different(with_system(first[:shared], system), first[shared:], second[shared:])


def dialogues(row: Row, shape: Shape) -> CanonicalRow:
    """hh-rlhf: two whole dialogues as texts."""
    both = [(read_text(value, column), column) for value, column in sides(row, shape)]
    (first, first_column), (second, second_column) = both
    if first.strip() == second.strip():
        raise RowProblem(second_column, "chosen and rejected are equal")
    cut, prompt = dialogue_prompt(first, second, first_column)
    answers = []
    for text, column in both:
        messages = read_dialogue(text[cut:], column, first="assistant")
        if messages[-1]["role"] != "assistant":
            raise RowProblem(column, "the dialogue ends with a turn of the human")
        answers.append(messages)
    return _different(with_system(prompt, cells.system(row, shape)), *answers)


def dialogue_prompt(first: str, second: str, column: str) -> tuple[int, list[Message]]:
    """Where the prompt of two dialogues ends, and its messages."""
    cut = split_dialogues(first, second)
    # It may end with a turn of the assistant, where both replies hold the mark once more after the same words.
    return cut, read_dialogue(first[:cut].removesuffix(ASSISTANT_MARK), column)


def sides(row: Row, shape: Shape) -> tuple[Cell, Cell]:
    """Both answers of a row, each with its column."""
    return cells.cell(row, shape, "chosen"), cells.cell(row, shape, "rejected")


def _of_conversation(row: Row, shape: Shape) -> CanonicalRow:
    """A conversation that both replies go on from; or one that two whole conversations beside it repeat."""
    (chosen, chosen_column), (rejected, rejected_column) = sides(row, shape)
    column = shape.slots["messages"]
    messages = cells.conversation(row, shape)
    if _starts_with_user(chosen) and _starts_with_user(rejected):
        whole = implicit(row, shape)
        turns = _apart(messages)[1]
        if not any(_within(turns, whole["prompt"] + whole[side]) for side in SIDES):
            raise RowProblem(column, "is part of neither chosen nor rejected, which are whole conversations")
        return whole
    first, second = cells.reply(chosen, chosen_column), cells.reply(rejected, rejected_column)
    if messages[-1]["role"] == "assistant":
        if len(messages) == 1 or not _same(messages[-1:], first):
            raise RowProblem(column, "ends with a message of the assistant, which is not the chosen reply")
        messages = messages[:-1]
    return _different(messages, first, second)


def _of_reply(row: Row, shape: Shape) -> CanonicalRow:
    """A conversation whose last reply is the better one, beside a worse one: a reply, or a whole conversation."""
    column = shape.slots["messages"]
    messages = cells.conversation(row, shape)
    check_reply(messages, column)
    value, rejected_column = cells.cell(row, shape, "rejected")
    if _starts_with_user(value):
        other = with_system(read_messages(value, rejected_column), cells.system(row, shape))
        return _parted((messages, column), (other, rejected_column), None)
    return _different(messages[:-1], messages[-1:], cells.reply(value, rejected_column))


def _beside_prompt(row: Row, shape: Shape) -> CanonicalRow:
    both, bare = sides(row, shape), _without_system(shape)
    (chosen, _), (rejected, _) = both
    whole = None
    if _starts_with_user(chosen) and _starts_with_user(rejected):
        whole = implicit(row, bare)  # the lists repeat the prompt, as UltraFeedback's do
    elif shape.dialogue and (starts_dialogue(chosen) or starts_dialogue(rejected)):
        whole = dialogues(row, bare)
    if whole is not None:
        prompt = _with_own(whole["prompt"], row, bare)
        return {**whole, "prompt": with_system(prompt, cells.system(row, shape))}
    prompt = cells.prompt(row, shape)
    answers = [
        read_dialogue(read_text(value, column), column, first="assistant")
        if shape.dialogue and isinstance(value, str)
        else cells.reply(value, column)
        for value, column in both
    ]
    return _different(prompt, *answers)


def _different(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> CanonicalRow:
    if chosen == rejected:
        raise RowProblem("rejected", "chosen and rejected are equal")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _without_system(shape: Shape) -> Shape:
    """The shape without system messages, which only go where a conversation has none."""
    slots = {role: column for role, column in shape.slots.items() if role != "system"}
    return replace(shape, slots=slots, system_prompt=None)


def _with_own(shared: list[Message], row: Row, shape: Shape) -> list[Message]:
    """The prompt of a row whose ``chosen`` and ``rejected`` are whole conversations, and that has a prompt besides.

    What both share may repeat the row's own, whole or its end, or go on after it; messages only there are kept.
    """
    value, column = cells.cell(row, shape, "prompt")
    if value is None or value == "" or value == []:
        return shared
    start, turns = _apart(cells.any_prompt(row, shape, None))
    shared_start, shared_turns = _apart(shared)
    if start and shared_start and not _same(start, shared_start):
        raise RowProblem(column, "its system message is not the one of chosen and rejected")
    start = shared_start or start
    if _within(turns, shared_turns):
        return start + shared_turns
    if _same(turns[len(turns) - len(shared_turns) :], shared_turns):
        return start + turns
    if turns[-1]["role"] == "assistant" and shared_turns:
        return start + turns + shared_turns
    text = shortened(shared[-1]["content"])
    raise RowProblem(column, f"contradicts chosen and rejected, which share the prompt {text}")


def _apart(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """The system message, and the turns."""
    count = int(messages[0]["role"] == "system")
    return messages[:count], messages[count:]


def _same(some: Sequence[Message], others: Sequence[Message]) -> bool:
    """Whether messages are equal but for white space around them."""
    first, second = ([(m["role"], m["content"].strip()) for m in part] for part in (some, others))
    return first == second


def _within(part: list[Message], messages: list[Message]) -> bool:
    """Whether ``part`` is a run of ``messages``; no turns at all are."""
    return any(_same(part, messages[i : i + len(part)]) for i in range(len(messages) - len(part) + 1))


def _starts_with_user(value: Any) -> bool:
    if not is_messages(value):
        return False
    name = speaker(value[0])
    return isinstance(name, str) and name.lower() in ("user", "human", "system")


def _shared(first: list[Message], second: list[Message]) -> int:
    """How many leading messages two conversations share, the last of either left out: it is the reply.

    Where one goes on after the other has ended, both replies start with the last message that they share.
    """
    pairs = zip(first[:-1], second[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


FORMAT = Format(
    name="preference",
    roles=(
        Roles(("prompt", *SIDES), CONTEXT),
        Roles(("messages", *SIDES), BESIDE),
        Roles(SIDES, BESIDE),
        Roles(("messages", "rejected"), BESIDE),
        Roles(("prompt", "completion", "rejected"), CONTEXT),
    ),
    recognise=recognise,
    rows=rows,
    columns=("prompt", *SIDES),
    loss="completion",
    wants=(
        "prompt, chosen and rejected; or chosen and rejected as whole dialogues or message lists; or messages with "
        "chosen and rejected, or with rejected_response"
    ),
)
