"""Plain text for language modelling."""

from __future__ import annotations

from collections.abc import Iterator

from aligntune_core.data import cells
from aligntune_core.data.conversations import read_text
from aligntune_core.data.formats.base import CanonicalRow, Format, Roles, Row, Shape, Target, Wishes
from aligntune_core.errors import DataError


def recognise(shape: Shape) -> str:
    return "text"


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """The text, unchanged."""
    yield {"text": read_text(*cells.cell(row, shape, "text"))}


def loss(shape: Shape, wishes: Wishes) -> Target:
    """On every token: there is no completion."""
    if wishes.completion_only and wishes.written:
        raise DataError(
            f"{shape.origin}: completion_only_loss=True needs rows with a completion; these are plain text. Leave it "
            "out, or give prompt and completion."
        )
    return Target("all", ("text",), "The loss is on every token.")


FORMAT = Format(
    name="text",
    roles=(Roles(("text",)),),
    recognise=recognise,
    rows=rows,
    columns=("text",),
    types={"text": "string"},
    loss=loss,
    wants="text",
)
