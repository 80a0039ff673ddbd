"""A prompt and its completion, in two columns; alpaca's instruction, input and output among them.

Self-instruct's seeds have one instruction and several instances of it, each with an input and an output of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aligntune_core.data import cells
from aligntune_core.data.columns import plain_name
from aligntune_core.data.conversations import is_messages
from aligntune_core.data.formats.base import (
    CONTEXT,
    CanonicalRow,
    Format,
    Roles,
    Row,
    RowProblem,
    Shape,
    Target,
    Wishes,
)
from aligntune_core.data.formats.messages import PAIR, WHOLE
from aligntune_core.data.texts import is_blank, read_text, shortened

INSTANCES = "instances"
_OF_INSTANCES = ("input", "output")


def recognise(shape: Shape) -> str:
    """ "alpaca", or the two columns."""
    if INSTANCES in shape.slots:
        return "self-instruct"
    columns = (plain_name(shape.slots["prompt"]), plain_name(shape.slots["completion"]))
    if columns == ("instruction", "output"):
        return "alpaca"
    return "/".join(columns) + (" (messages)" if is_messages(shape.value("prompt")) else "")


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """Both as messages; as one conversation beside whole conversations."""
    if INSTANCES in shape.slots:
        yield from _of_instances(row, shape)
        return
    prompt = cells.prompt(row, shape)
    completion = cells.reply(*cells.cell(row, shape, "completion"))
    if shape.target.columns == WHOLE:
        yield {"messages": prompt + completion}
    else:
        yield {"prompt": prompt, "completion": completion}


def _of_instances(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """Each instance of an instruction as a row of its own."""
    column = shape.slots[INSTANCES]
    for number, instance in enumerate(_instances(row.get(column), column)):
        which = f"instance {number}"
        if not isinstance(instance, Mapping) or "output" not in instance:
            raise RowProblem(column, f"{which} is {shortened(instance)}, no dict of input and output")
        others = [key for key, value in instance.items() if key not in _OF_INSTANCES and not is_blank(value)]
        if others:
            raise RowProblem(
                column, f"{which} has {', '.join(others)} beside input and output, which nobody reads"
            )
        prompt = cells.prompt(row, shape)
        try:
            more = read_text(instance.get("input"), column, optional=True)
            completion = cells.reply(instance["output"], column)
        except RowProblem as problem:
            raise RowProblem(column, f"{which}: {problem.reason}") from None
        if more:
            prompt[-1] = {**prompt[-1], "content": f"{prompt[-1]['content']}\n\n{more}"}
        yield {"prompt": prompt, "completion": completion}


def _instances(value: Any, column: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise RowProblem(column, f"{shortened(value)} is no JSON list of instances") from None
    if not isinstance(value, list | tuple) or not value:
        raise RowProblem(column, f"{shortened(value)} is no list of instances")
    return list(value)


def loss(shape: Shape, wishes: Wishes) -> Target:
    """On the completion, unless the user says otherwise."""
    if wishes.completion_only is False:
        return Target("all", PAIR, "The loss is on every token (completion_only_loss=False).")
    return Target("completion", PAIR, "The loss is on the completion only.")


FORMAT = Format(
    name="pair",
    roles=(Roles(PAIR, CONTEXT), Roles(("prompt", INSTANCES), CONTEXT)),
    recognise=recognise,
    rows=rows,
    columns=PAIR,
    loss=loss,
    wants="prompt and completion; or instruction and output (input); or question and answer",
)
