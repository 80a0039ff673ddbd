"""A prompt and its completion, in two columns; alpaca's instruction, input and output among them."""

from __future__ import annotations

from collections.abc import Iterator

from aligntune_core.data import cells
from aligntune_core.data.columns import plain_name
from aligntune_core.data.conversations import is_messages
from aligntune_core.data.formats.base import CONTEXT, CanonicalRow, Format, Roles, Row, Shape, Target, Wishes
from aligntune_core.data.formats.messages import PAIR, WHOLE


def recognise(shape: Shape) -> str:
    """ "alpaca", or the two columns."""
    columns = (plain_name(shape.slots["prompt"]), plain_name(shape.slots["completion"]))
    if columns == ("instruction", "output"):
        return "alpaca"
    return "/".join(columns) + (" (messages)" if is_messages(shape.value("prompt")) else "")


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """Both as messages; as one conversation beside whole conversations."""
    prompt = cells.prompt(row, shape)
    completion = cells.reply(*cells.cell(row, shape, "completion"))
    if shape.target.columns == WHOLE:
        yield {"messages": prompt + completion}
    else:
        yield {"prompt": prompt, "completion": completion}


def loss(shape: Shape, wishes: Wishes) -> Target:
    """On the completion, unless the user says otherwise."""
    if wishes.completion_only is False:
        return Target("all", PAIR, "The loss is on every token (completion_only_loss=False).")
    return Target("completion", PAIR, "The loss is on the completion only.")


FORMAT = Format(
    name="pair",
    roles=(Roles(PAIR, CONTEXT),),
    recognise=recognise,
    rows=rows,
    columns=PAIR,
    loss=loss,
    wants="prompt and completion; or instruction and output (input); or question and answer",
)
