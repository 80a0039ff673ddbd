"""Preference rows that may say by how much the better answer is better, for algorithms whose loss reads it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aligntune_core.data.formats import preference
from aligntune_core.data.formats.base import CanonicalRow, Roles, Row, RowProblem, Shape, Target, Wishes
from aligntune_core.data.texts import shortened

MARGIN = "margin"


def rows(row: Row, shape: Shape) -> Iterator[CanonicalRow]:
    """Preference rows, with the margin where the training rows have one."""
    for made in preference.rows(row, shape):
        yield {**made, MARGIN: _margin(row, shape)} if MARGIN in shape.target.columns else made


def loss(shape: Shape, wishes: Wishes) -> Target:
    """On both replies; the margin goes along."""
    columns = (*preference.FORMAT.columns, *((MARGIN,) if MARGIN in shape.slots else ()))
    return Target("completion", columns)


def _margin(row: Row, shape: Shape) -> float:
    column = shape.slots.get(MARGIN, MARGIN)
    value: Any = row.get(column)
    if value is None:
        raise RowProblem(column, "missing (None)")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise RowProblem(column, f"{shortened(value)} is no number")
    return number


FORMAT = replace(
    preference.FORMAT,
    name="margins",
    roles=tuple(Roles(way.needs, (*way.may, MARGIN)) for way in preference.FORMAT.roles),
    rows=rows,
    types={MARGIN: "float64"},
    loss=loss,
)
