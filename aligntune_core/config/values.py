"""One value of a configuration: whether two are equal, how messages have it, what stands for an object in memory."""

from __future__ import annotations

from enum import Enum
from typing import Any

from aligntune_core.wording import a_type

IN_MEMORY = "in_memory"
"""Key of the mapping that stands in a manifest for an object that was in memory."""


def plain_value(value: Any) -> Any:
    """Enum members stand for their values."""
    return value.value if isinstance(value, Enum) else value


def excerpt(value: Any, limit: int = 60) -> str:
    """A value for a message: short, and an object in memory by its type."""
    if isinstance(value, (str, int, float, bool, list, tuple, dict, type(None))):
        text = repr(value)
        return text if len(text) <= limit else text[: limit - 3] + "..."
    return a_type(value)


def equal(value: Any, other: Any) -> bool:
    """Equality that survives objects in memory, whose ``==`` may answer anything."""
    if value is other:
        return True
    if isinstance(value, (str, int, float, bool, list, tuple, dict)) and isinstance(
        other, (str, int, float, bool, list, tuple, dict)
    ):
        try:
            return bool(value == other)
        except (ValueError, TypeError):  # lists of arrays
            return False
    return False


def holds_object(value: Any) -> bool:
    """Whether a value read from a manifest stands for an object that was in memory."""
    if isinstance(value, dict):
        return IN_MEMORY in value or any(holds_object(v) for v in value.values())
    return isinstance(value, list) and any(holds_object(v) for v in value)
