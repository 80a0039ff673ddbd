"""Rows that hold the chat template's marks already (``data.rendered``): their texts are taken as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aligntune_core.data.formats.base import (
    MESSAGES,
    CanonicalRow,
    Format,
    Row,
    RowProblem,
    Shape,
    Target,
    Wishes,
)
from aligntune_core.data.templates import adds_bos
from aligntune_core.errors import DataError


def as_rendered(entry: Format, tokenizer: Any) -> Format:
    """A format whose rows keep their texts instead of being put into messages.

    A BOS at the start of a text goes where the tokenizer adds one anyway, and so does white space after an
    end-of-sequence token: libraries would add another end to it. Plain text is recognised as rendered by its special
    tokens anyway (data/tokens.py).
    """

    def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
        for canonical in entry.rows(row, shape):
            yield {
                column: _text(_alone(value, column), tokenizer, first=column == "prompt")
                if entry.type_of(column) == MESSAGES
                else value
                for column, value in canonical.items()
            }

    def loss(shape: Shape, wishes: Wishes) -> Target:
        if "messages" in shape.slots:
            raise DataError(
                f"{shape.origin}: rendered=True takes texts that hold the template's marks; these rows are lists of "
                "messages, which the template renders. Leave rendered out."
            )
        target = entry.target(shape, wishes)
        return replace(target, text_prompts=target.loss == "none")

    types = dict.fromkeys(entry.columns, "string")
    return replace(entry, rows=rows, loss=loss, types={**types, **entry.types})


def _alone(messages: Any, column: str) -> str:
    """The text of the one message that a rendered text was read as."""
    if len(messages) != 1:
        raise RowProblem(
            column, "is a list of messages or has a system message; rendered=True takes one text"
        )
    return str(messages[0]["content"])


def _text(text: str, tokenizer: Any, first: bool) -> str:
    if tokenizer is None:
        return text
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    if first and bos and text.startswith(bos) and adds_bos(tokenizer):
        text = text.removeprefix(bos)
    return text.rstrip() if eos and text.rstrip().endswith(eos) else text
