"""Values of a configuration: whether two are equal, how messages have one, what stands for an object in memory."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from aligntune_core.wording import a_type

IN_MEMORY = "in_memory"
"""Key of the mapping that stands in a manifest for an object that was in memory."""


_PLAIN = (str, int, float, bool, list, tuple, dict)


def plain_value(value: Any) -> Any:
    """Enum members stand for their values."""
    return value.value if isinstance(value, Enum) else value


def excerpt(value: Any, limit: int = 60) -> str:
    """A value for a message: short, and an object in memory by its type."""
    if value is not None and not isinstance(value, _PLAIN):
        return a_type(value)
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def equal(value: Any, other: Any) -> bool:
    """Equality that survives objects in memory, whose ``==`` may answer anything."""
    if value is other:
        return True
    if not isinstance(value, _PLAIN) or not isinstance(other, _PLAIN):
        return False
    try:
        return bool(value == other)
    except (ValueError, TypeError):  # lists of arrays
        return False


def same(value: Any, other: Any) -> bool:
    """Equality that does not take False for 0."""
    return isinstance(value, bool) == isinstance(other, bool) and equal(value, other)


def says_nothing(value: Any) -> bool:
    """Whether a value is None, False, "none" or empty."""
    empty = isinstance(value, (list, tuple, Mapping)) and not value
    return empty or any(same(value, n) for n in (None, False, "", "none", "None", "no", "off"))


def not_chosen(source: str) -> bool:
    """Whether a source says, or leaves open, that a value was a default or worked out."""
    return not source or source.startswith(("default", "resolved"))


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted paths as mappings within mappings."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return tree


def holds_object(value: Any) -> bool:
    """Whether a value read from a manifest stands for an object that was in memory."""
    if isinstance(value, dict):
        return IN_MEMORY in value or any(holds_object(v) for v in value.values())
    return isinstance(value, list) and any(holds_object(v) for v in value)
