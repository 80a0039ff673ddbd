"""Single completions that are good or bad: with a label beside them, or the two sides of preference rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aligntune_core.data import cells
from aligntune_core.data.conversations import check_reply, shortened
from aligntune_core.data.formats import preference
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

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def recognise(shape: Shape) -> str:
    """Which layout, and for preference rows that each becomes two."""
    if "label" in shape.slots:
        return "messages/label" if "messages" in shape.slots else "prompt/completion/label"
    return f"{preference.recognise(shape)}, each row split in two"


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """The completion with its label; of a preference row the chosen one, then the rejected one."""
    if "label" not in shape.slots:
        for pair in preference.rows(row, shape):
            yield {"prompt": pair["prompt"], "completion": pair["chosen"], "label": True}
            yield {"prompt": pair["prompt"], "completion": pair["rejected"], "label": False}
        return
    label = _label(*cells.cell(row, shape, "label"))
    if "messages" in shape.slots:
        messages = cells.conversation(row, shape)
        check_reply(messages, shape.slots["messages"])
        yield {"prompt": messages[:-1], "completion": messages[-1:], "label": label}
    else:
        completion = cells.reply(*cells.cell(row, shape, "completion"))
        yield {"prompt": cells.prompt(row, shape), "completion": completion, "label": label}


def _label(value: Any, column: str) -> bool:
    """True or false, also as 1 and 0 or as words."""
    text = str(value).strip().lower().removesuffix(".0")
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise RowProblem(
        column, f"must be true (a good completion) or false (a bad one), not {shortened(str(value))}"
    )


FORMAT = Format(
    name="unpaired",
    roles=(
        Roles(("prompt", "completion", "label"), CONTEXT),
        Roles(("messages", "label"), BESIDE),
        *preference.FORMAT.roles,
    ),
    recognise=recognise,
    rows=rows,
    columns=("prompt", "completion", "label"),
    types={"label": "bool"},
    loss="completion",
    wants="prompt, completion and label; or messages and label; or prompt, chosen and rejected",
)
