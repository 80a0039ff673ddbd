"""What kind of values a column holds, judged by most of a sample: a bad row must not decide the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aligntune_core.data.conversations import is_dialogue, is_messages, parsed

# Between kinds that are equally frequent, the one with more structure: text among messages is the bad row.
_KINDS = ("messages", "dialogue", "text", "other")


def typical_values(sample: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
    """One value of each column that stands for most of them; None where a column holds none.

    Args:
        sample: rows; None and empty values among them do not count.
        columns: names of the columns.

    Returns:
        dict: column -> the first value of its most frequent kind; a JSON text of messages as the list it means.
    """
    return {column: _typical([row.get(column) for row in sample]) for column in columns}


def _typical(values: Sequence[Any]) -> Any:
    first: dict[str, Any] = {}
    counts = dict.fromkeys(_KINDS, 0)
    for given in values:
        if given is None or given == "" or given == []:
            continue
        value = parsed(given)
        kind = _kind(value)
        first.setdefault(kind, value)
        counts[kind] += 1
    return first.get(max(_KINDS, key=counts.__getitem__))


def _kind(value: Any) -> str:
    if is_messages(value):
        return "messages"
    if is_dialogue(value):
        return "dialogue"
    return "text" if isinstance(value, str) else "other"
