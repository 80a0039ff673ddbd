"""Rows that hold the chat template's marks already (``data.rendered``): their texts are taken as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aligntune_core.data.fidelity import Special, special_tokens
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
    end-of-sequence token: libraries would add another end to it. An answer that no special token ends gets the
    end-of-sequence token, or a model would not learn to stop. Plain text is recognised as rendered by its
    special tokens anyway (data/tokens.py).
    """
    special = None if tokenizer is None else special_tokens(tokenizer)

    def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
        for canonical in entry.rows(row, shape):
            yield {
                column: _text(_alone(value, column), tokenizer, special, first=column == "prompt")
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


def _text(text: str, tokenizer: Any, special: Special, first: bool) -> str:
    if tokenizer is None:
        return text
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    if first and bos and text.startswith(bos) and adds_bos(tokenizer):
        text = text.removeprefix(bos)
    last = text.rstrip()
    if eos and last.endswith(eos):
        return last
    ended = special is not None and any(match.end() == len(last) for match in special.finditer(last))
    return text if first or ended or not eos else text + eos
