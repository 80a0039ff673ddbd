"""Where the loss of a data set is, and in which canonical columns its rows are handed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aligntune_core.data.formats.messages import is_messages, is_multi_turn, read_messages
from aligntune_core.data.recognise.detect import Shape
from aligntune_core.data.rows import RowProblem, RowSource
from aligntune_core.data.templates import marks_assistant
from aligntune_core.types import LossOn

PAIR = ("prompt", "completion")
WHOLE = ("messages",)
TEXT = ("text",)


@dataclass(frozen=True)
class Target:
    """What rows become.

    Attributes:
        loss: where the loss is.
        columns: canonical columns.
        said: a sentence for the report.
        text_prompts: whether the rows' prompts are plain texts, each of which becomes a user's message.
    """

    loss: LossOn
    columns: tuple[str, ...]
    said: str = ""
    text_prompts: bool = False


def target_of(
    shape: Shape,
    completion_only: bool | None,
    tokenizer: Any,
    sample: Sequence[Mapping[str, Any]],
    source: RowSource | None,
) -> Target:
    """Decide what the rows become.

    ``messages`` beside a loss on the completion means each turn of the assistant, which needs a template that marks
    them; where it does not, the last turn is the completion.

    Args:
        shape: the format.
        completion_only: ``completion_only_loss``; only False differs.
        tokenizer: its template may mark the assistant's turns.
        sample: a few rows.
        source: where all rows can be looked at; None: ``sample`` decides.
    """
    if shape.family == "online":
        return Target("none", ("prompt",), text_prompts=_are_texts(shape, sample))
    if shape.family == "preference":
        return Target("completion", ("prompt", "chosen", "rejected"))
    if shape.kind == "text":
        return Target("all", TEXT, "The loss is on every token.")
    if completion_only is False:
        columns = PAIR if shape.kind == "pair" else WHOLE
        return Target("all", columns, "The loss is on every token (completion_only_loss=False).")
    if shape.kind == "pair":
        return Target("completion", PAIR, "The loss is on the completion only.")
    if not marks_assistant(tokenizer):
        said = "The loss is on the last turn of the assistant (the chat template does not mark its turns)."
        return Target("completion", PAIR, said)
    if _several_turns(shape, sample, source):
        return Target("assistant", WHOLE, "The loss is on every turn of the assistant.")
    return Target("completion", PAIR, "The loss is on the reply only.")


def _are_texts(shape: Shape, sample: Sequence[Mapping[str, Any]]) -> bool:
    column = shape.slots.get("prompt", "prompt")
    values = [row.get(column) for row in sample]
    texts = [value for value in values if isinstance(value, str) and not is_messages(value)]
    marked = shape.dialogue and any("Human:" in text for text in texts)
    return shape.kind == "prompt_text" or (shape.kind == "prompt" and bool(texts) and not marked)


def _several_turns(shape: Shape, sample: Sequence[Mapping[str, Any]], source: RowSource | None) -> bool:
    """Whether any conversation has more than one turn of the assistant."""
    column = shape.slots["messages"]
    batches: Any = ((0, sample),) if source is None else source.batches((column,))
    rows = (row for _, batch in batches for row in batch if isinstance(row, Mapping))
    return any(_has_turns(row.get(column), column) for row in rows)


def _has_turns(value: Any, column: str) -> bool:
    try:
        return is_multi_turn(read_messages(value, column))
    except RowProblem:
        return False  # a bad row: named when rows are checked
