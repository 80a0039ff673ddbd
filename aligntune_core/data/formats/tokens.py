"""Rows that are tokens already, with labels or masks that say where the loss is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from aligntune_core.data.formats.base import (
    CanonicalRow,
    Format,
    Roles,
    Row,
    RowProblem,
    Shape,
    Target,
    Wishes,
)
from aligntune_core.data.texts import is_blank, shortened
from aligntune_core.errors import DataError
from aligntune_core.wording import a_type

IGNORED = -100
"""The label of a token without loss."""

_LARGEST = 2**31 - 1
COLUMNS = ("input_ids", "labels")
# Columns of zeros and ones that put the loss on some of the tokens.
_MASKS = ("assistant_masks", "completion_mask", "loss_mask")
_PADDING = "attention_mask"


def recognise(shape: Shape) -> str:
    """ "tokens", with what says where the loss is."""
    telling = [role for role in ("labels", *_MASKS) if role in shape.slots]
    return "/".join(("tokens", *telling))


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """The tokens without their padding, and the labels: the tokens themselves, or -100 where no loss is."""
    column = shape.slots["input_ids"]
    ids = _numbers(row.get(column), column)
    learnt = [True] * len(ids)
    for role in _MASKS:
        mask = _beside(row, shape, role, len(ids))
        learnt = learnt if mask is None else [a and b for a, b in zip(learnt, _bits(mask, role), strict=True)]
    labels = _beside(row, shape, "labels", len(ids))
    if labels is not None:
        for place, (token, label) in enumerate(zip(ids, labels, strict=True)):
            if label not in (token, IGNORED):
                raise RowProblem(
                    shape.slots["labels"],
                    f"label {place} is {label}, but the token there is {token}; a label is its own token (it is "
                    f"shifted when the loss is taken), or {IGNORED} where no loss is",
                )
        learnt = [a and label != IGNORED for a, label in zip(learnt, labels, strict=True)]
    padding = _beside(row, shape, _PADDING, len(ids))
    kept = (
        range(len(ids)) if padding is None else [i for i, bit in enumerate(_bits(padding, _PADDING)) if bit]
    )
    if not any(learnt[place] for place in kept[1:]):
        raise RowProblem(column, "no token of it has loss, the first aside, which is predicted from nothing")
    odd = next((ids[place] for place in kept if not 0 <= ids[place] <= _LARGEST), None)
    if odd is not None:
        raise RowProblem(column, f"{odd} is no token id")
    yield {
        "input_ids": [ids[place] for place in kept],
        "labels": [ids[place] if learnt[place] else IGNORED for place in kept],
    }


def loss(shape: Shape, wishes: Wishes) -> Target:
    """Where labels or masks say, else on every token."""
    if any(role in shape.slots for role in ("labels", *_MASKS)):
        if wishes.completion_only is False and wishes.written:
            raise DataError(
                f"{shape.origin}: completion_only_loss=False puts the loss on every token, but the rows say themselves "
                "where it is. Leave it out, or leave those columns out with unused_columns."
            )
        return Target("completion", COLUMNS, "The rows are tokens already; the loss is where they say.")
    if wishes.completion_only and wishes.written:
        raise DataError(
            f"{shape.origin}: completion_only_loss=True needs rows that say where the completion is: tokens with "
            "labels, or with completion_mask."
        )
    return Target("all", COLUMNS, "The rows are tokens already; the loss is on every one.")


def _beside(row: Row, shape: Shape, role: str, length: int) -> list[int] | None:
    """The numbers of a column beside the tokens, as many as they are; None where the row has none."""
    column = shape.slots.get(role)
    if column is None or row.get(column) is None:
        return None
    numbers = _numbers(row.get(column), column)
    if len(numbers) != length:
        raise RowProblem(column, f"{len(numbers)} numbers beside {length} tokens")
    return numbers


def _bits(numbers: Sequence[int], role: str) -> list[bool]:
    odd = next((number for number in numbers if number not in (0, 1)), None)
    if odd is not None:
        raise RowProblem(role, f"{odd} is neither 0 nor 1")
    return [bool(number) for number in numbers]


def _numbers(value: Any, column: str) -> list[int]:
    """A list of whole numbers, also as an array or as JSON text; one that is nested once, as batches of one are."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise RowProblem(column, f"{shortened(value)} is a text, a list of tokens was expected") from None
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if is_blank(value):
        raise RowProblem(column, "missing (None)" if value is None else "empty")
    if not isinstance(value, list | tuple):
        raise RowProblem(column, f"{shortened(value)} is {a_type(value)}, a list of tokens was expected")
    odd = next((item for item in value if not isinstance(item, int)), None)
    if odd is not None:
        raise RowProblem(column, f"{shortened(odd)} is {a_type(odd)}, a whole number was expected")
    return list(map(int, value))


FORMAT = Format(
    name="tokens",
    roles=(Roles(("input_ids",), ("labels", *_MASKS, _PADDING)),),
    recognise=recognise,
    rows=rows,
    columns=COLUMNS,
    types={"input_ids": "int32[]", "labels": "int32[]"},
    loss=loss,
    wants="input_ids",
)
