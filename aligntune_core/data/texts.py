"""Texts of one row, read strictly."""

from __future__ import annotations

import math
from typing import Any

from aligntune_core.data.formats.base import RowProblem
from aligntune_core.wording import a_type


def shortened(value: Any, length: int = 40) -> str:
    """A value for a message, cut to ``length``."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def read_text(value: Any, column: str, *, optional: bool = False) -> str:
    """A non-empty text; with ``optional``, None and empty texts give ""."""
    if value is None or value == "":
        if optional:
            return ""
        raise RowProblem(column, "missing (None)" if value is None else "empty")
    if not isinstance(value, str):
        if isinstance(value, float) and math.isnan(value):  # what pandas has where nothing is
            return read_text(None, column, optional=optional)
        raise RowProblem(column, f"{shortened(value)} is {a_type(value)}, text was expected")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowProblem(
                column, f"character {error.start + 1} is half of a surrogate pair, no text"
            ) from None
    if value.strip():
        return value
    if optional:
        return ""
    raise RowProblem(column, "empty (only white space)")


def is_blank(value: Any) -> bool:
    """Whether a value says nothing: None, a blank text, a list or dict without items, or a JSON text of one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, str):
        return value.strip() in ("", "[]", "{}", "null")
    return isinstance(value, list | tuple | dict) and not value
